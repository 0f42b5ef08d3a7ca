from __future__ import annotations

import math
from typing import Any

import pytest

from service.domain.errors import InvalidValueError
from service.domain.workload import Workload


@pytest.mark.parametrize("field", ["rate_per_second", "cv", "examples_per_request"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "3", None, True])
def test_what_is_no_finite_number_from_nought_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Workload(**{"rate_per_second": 1.0, field: value})
    assert caught.value.field == field


def test_poisson_arrivals_of_single_examples_are_assumed() -> None:
    assert Workload(5.0) == Workload(5.0, cv=1.0, examples_per_request=1.0)


def test_a_workload_survives_its_dict() -> None:
    workload = Workload(5.5, 2.5, 3.0)
    assert Workload.from_dict(workload.to_dict()) == workload
