"""Which labels a model list may assign."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.modelserver.labels import Labels, checked_labels, version_labelled
from service.modelserver.model_config import ModelConfig
from service.modelserver.status import Code, ServingError


def check(labels: dict[str, int], *, held: dict[str, int] | None = None, allow: bool = False) -> Labels:
    """Labels of model ``m``, of which version 1 alone is available."""
    return checked_labels(
        [ModelConfig(name="m", base_path=Path("/models/m"), labels=labels)],
        {"m": held or {}},
        serves=lambda name, version: (name, version) == ("m", 1),
        allow_unavailable=allow,
    )


def test_a_label_may_name_an_available_version() -> None:
    assert version_labelled(check({"stable": 1}), "m", "stable") == 1


def test_a_label_may_not_name_a_version_that_is_not_available() -> None:
    with pytest.raises(ServingError) as raised:
        check({"stable": 1, "canary": 2})
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert raised.value.message == (
        "Request to assign label to version 2 of model m, which is not currently available for inference"
    )


def test_a_new_label_may_name_an_unavailable_version_where_that_is_allowed() -> None:
    assert version_labelled(check({"canary": 2}, allow=True), "m", "canary") == 2
    assert version_labelled(check({"canary": 2}, held={"canary": 2}, allow=True), "m", "canary") == 2


def test_a_label_is_never_moved_to_an_unavailable_version() -> None:
    with pytest.raises(ServingError, match="version 2 of model m"):
        check({"stable": 2}, held={"stable": 1}, allow=True)


@pytest.mark.parametrize(("name", "label"), [("m", "nightly"), ("other", "stable")])
def test_an_unknown_label_is_named(name: str, label: str) -> None:
    with pytest.raises(ServingError) as raised:
        version_labelled(check({"stable": 1}), name, label)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message == f"Unrecognized servable version label: {label}"
