from __future__ import annotations

import inspect

from service.domain import errors
from service.domain.errors import InvalidValueError, RegulusError, StaleGenerationError, UnknownModelError


def test_every_error_has_the_one_root_and_is_in_the_tree_of_the_docstring() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(kinds) > 5
    for kind in kinds:
        assert issubclass(kind, RegulusError)
        assert kind.__name__ in (errors.__doc__ or "")


def test_errors_say_what_where_and_how_it_is() -> None:
    assert str(InvalidValueError("slo.percentile", "is a fraction")) == "slo.percentile: is a fraction"
    assert str(StaleGenerationError(3, 5)) == "generation 3 is stale: the agent is at 5"
    assert str(UnknownModelError("m")) == "no model named 'm' is steered by this service"
