"""Warm-up: zeros of the signature's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.node.warmup import zero_request


def metadata(dtype: str, *sizes: int, signature: str = "serving_default", **shape: Any) -> dict[str, Any]:
    tensor = {"dtype": dtype, "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in sizes], **shape}}
    return {"metadata": {"signature_def": {"signature_def": {signature: {"inputs": {"x": tensor}}}}}}


@pytest.mark.parametrize(
    ("told", "inputs"),
    [
        (metadata("DT_FLOAT", -1, 2, 3), [[[0.0] * 3] * 2]),
        (metadata("DT_INT64", -1), [0]),
        (metadata("DT_STRING", -1), [""]),
        (metadata("DT_BOOL"), False),
    ],
)
def test_one_example_of_zeros_whatever_the_type(told: dict[str, Any], inputs: Any) -> None:
    body = zero_request(told)
    assert body is not None
    assert json.loads(body) == {"inputs": {"x": inputs}}


@pytest.mark.parametrize(
    "told",
    [
        metadata("DT_RESOURCE", -1),
        metadata("DT_FLOAT", -1, 10_000, 10_000),
        metadata("DT_FLOAT", unknown_rank=True),
        metadata("DT_FLOAT", -1, signature="other"),
        {},
        {"metadata": None},
    ],
)
def test_a_model_whose_shape_is_not_told_gets_none(told: dict[str, Any]) -> None:
    assert zero_request(told) is None
