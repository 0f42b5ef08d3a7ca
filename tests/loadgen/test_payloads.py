from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen import messages
from service.loadgen.payloads import Encoding, RequestSpec, concrete_shape, make_pool
from service.loadgen.signatures import DTYPE_NUMBERS, ModelSignature, TensorInput

NUMERIC = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_HALF": np.float16,
    "DT_INT8": np.int8,
    "DT_INT16": np.int16,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT16": np.uint16,
    "DT_UINT32": np.uint32,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
}
TYPED = {"float_val", "double_val", "half_val", "int_val", "int64_val", "uint32_val", "uint64_val", "bool_val"}


def signature(*inputs: TensorInput, name: str = "serving_default") -> ModelSignature:
    return ModelSignature("m", name, inputs)


def bodies(what: ModelSignature, encoding: Encoding, seed: int = 0, **spec: Any) -> list[bytes]:
    return make_pool(what, RequestSpec(model="m", signature=what.name, **spec), encoding, np.random.default_rng(seed))


@pytest.mark.parametrize("dtype", NUMERIC)
def test_both_grpc_encodings_hold_the_same_values_of_the_models_type(dtype: str) -> None:
    what = signature(TensorInput("x", dtype, (None, 5)))
    raw = messages.PredictRequest.FromString(bodies(what, Encoding.TENSOR_CONTENT, batch=3)[0]).inputs["x"]
    typed = messages.PredictRequest.FromString(bodies(what, Encoding.TYPED, batch=3)[0]).inputs["x"]
    assert raw.dtype == typed.dtype == DTYPE_NUMBERS[dtype]
    assert [dim.size for dim in raw.tensor_shape.dim] == [dim.size for dim in typed.tensor_shape.dim] == [3, 5]
    from_raw: np.ndarray = np.frombuffer(raw.tensor_content, NUMERIC[dtype])
    (field,) = [f for f, _ in typed.ListFields() if f.name in TYPED]
    values = list(getattr(typed, field.name))
    from_typed = (
        np.array(values, np.uint16).view(np.float16) if dtype == "DT_HALF" else np.array(values, NUMERIC[dtype])
    )
    assert len(from_raw) == 15
    assert np.array_equal(from_raw, from_typed)
    assert len(set(from_raw.tolist())) > 1


def test_strings_are_short_and_travel_in_string_val() -> None:
    what = signature(TensorInput("x", "DT_STRING", (None,)))
    tensor = messages.PredictRequest.FromString(bodies(what, Encoding.TENSOR_CONTENT, batch=2)[0]).inputs["x"]
    assert [len(value) for value in tensor.string_val] == [8, 8]
    assert all(value.decode().isalpha() for value in tensor.string_val)
    assert json.loads(bodies(what, Encoding.ROW, batch=2)[0])["instances"] == [v.decode() for v in tensor.string_val]


def test_integers_stay_in_the_range_asked_for_and_in_the_types() -> None:
    ids, pixels = TensorInput("ids", "DT_INT32", (None, 1000)), TensorInput("pixels", "DT_UINT8", (None, 1000))
    request = messages.PredictRequest.FromString(
        bodies(signature(ids, pixels), Encoding.TENSOR_CONTENT, int_low=200, int_high=8000)[0]
    )
    drawn = np.frombuffer(request.inputs["ids"].tensor_content, np.int32)
    assert 200 <= drawn.min() < 300
    assert 7900 < drawn.max() < 8000
    drawn = np.frombuffer(request.inputs["pixels"].tensor_content, np.uint8)
    assert (drawn.min(), drawn.max()) == (200, 255)


def test_a_range_outside_the_type_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="holds no value of DT_INT8"):
        bodies(signature(TensorInput("x", "DT_INT8", (None,))), Encoding.TYPED, int_low=200, int_high=300)


def test_the_pool_holds_different_requests_that_repeat_with_the_seed() -> None:
    what = signature(TensorInput("x", "DT_FLOAT", (None, 4)))
    first = bodies(what, Encoding.TENSOR_CONTENT, pool_size=5)
    assert len(set(first)) == 5
    assert first == bodies(what, Encoding.TENSOR_CONTENT, pool_size=5)
    assert first != bodies(what, Encoding.TENSOR_CONTENT, seed=1, pool_size=5)


@pytest.mark.parametrize(
    ("shape", "spec", "expected"),
    [
        ((None, 4), {"batch": 8}, (8, 4)),
        ((None, None, 3, None), {"batch": 2, "dims": {"x": (96, 5)}}, (2, 96, 3, 5)),
        ((None, None), {}, (1, 1)),
        ((7, 2), {}, (7, 2)),
        ((7, 2), {"batch": 7}, (7, 2)),
        ((), {"batch": 3}, ()),
        (None, {"batch": 2, "dims": {"x": (9,)}}, (2, 9)),
    ],
)
def test_free_dimensions_take_the_batch_and_then_the_sizes_given(
    shape: tuple[int | None, ...] | None, spec: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert concrete_shape(TensorInput("x", "DT_FLOAT", shape), RequestSpec(model="m", **spec)) == expected


@pytest.mark.parametrize(
    ("shape", "spec", "message"),
    [
        ((7, 2), {"batch": 2}, "fixed first dimension of 7"),
        ((None, 2), {"dims": {"x": (5,)}}, "fewer free dimensions"),
        ((None, 2), {"dims": {"y": (5,)}}, "'y' is no input"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int | None, ...], spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        bodies(signature(TensorInput("x", "DT_FLOAT", shape)), Encoding.TYPED, **spec)


def test_a_type_that_cannot_be_made_up_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="DT_VARIANT"):
        bodies(signature(TensorInput("x", "DT_VARIANT", (None,))), Encoding.TENSOR_CONTENT)


def test_rest_rows_and_columns() -> None:
    what = signature(TensorInput("a", "DT_INT32", (None, 2)), TensorInput("b", "DT_BOOL", (None,)), name="other")
    row = json.loads(bodies(what, Encoding.ROW, batch=3)[0])
    column = json.loads(bodies(what, Encoding.COLUMNAR, batch=3)[0])
    assert row["signature_name"] == column["signature_name"] == "other"
    assert [instance["a"] for instance in row["instances"]] == column["inputs"]["a"]
    assert [instance["b"] for instance in row["instances"]] == column["inputs"]["b"]
    single = json.loads(bodies(signature(TensorInput("x", "DT_FLOAT", (None, 2))), Encoding.COLUMNAR)[0])
    assert np.shape(single["inputs"]) == (1, 2)
    assert "signature_name" not in single


def test_row_format_needs_a_common_first_dimension() -> None:
    what = signature(TensorInput("a", "DT_FLOAT", (None,)), TensorInput("b", "DT_FLOAT", (5,)))
    with pytest.raises(InvalidValueError, match="use columnar"):
        bodies(what, Encoding.ROW)
    with pytest.raises(InvalidValueError, match="use columnar"):
        bodies(signature(TensorInput("a", "DT_FLOAT", ())), Encoding.ROW)


@pytest.mark.parametrize(
    "spec",
    [{"model": ""}, {"batch": 0}, {"int_low": 5, "int_high": 5}, {"pool_size": 0}, {"dims": {"x": (-1,)}}],
)
def test_a_spec_that_makes_no_sense_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        RequestSpec(**{"model": "m", **spec})
