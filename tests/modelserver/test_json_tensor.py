from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.modelserver.json_predict import PredictInput, read_predict, write_predict
from service.modelserver.json_tensor import dumps, read_tensor, read_tensor_fast, walk_tensor, write_tensor
from service.modelserver.json_values import parse_object
from service.modelserver.signature import NUMPY_DTYPES, Signature, TensorSpec
from service.modelserver.status import Code, ServingError

FLOAT, DOUBLE, INT32, UINT8, INT8, STRING, COMPLEX, INT64, BOOL, BFLOAT16, HALF, UINT64 = (
    1, 2, 3, 4, 6, 7, 8, 9, 10, 14, 19, 23,
)  # fmt: skip
NUMBERS = [FLOAT, DOUBLE, INT32, UINT8, 5, INT8, INT64, BOOL, 17, HALF, 22, UINT64]


def spec(tf_dtype: int) -> TensorSpec:
    return TensorSpec(NUMPY_DTYPES[tf_dtype], tf_dtype, None)


def signature(**inputs: int) -> Signature:
    return Signature("serving_default", "", {alias: spec(dtype) for alias, dtype in inputs.items()}, {})


def read(body: str | bytes | dict[str, Any], **inputs: int) -> PredictInput:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    return read_predict(raw, lambda key: signature(**inputs))


def refusal(body: str | bytes | dict[str, Any], **inputs: int) -> ServingError:
    with pytest.raises(ServingError) as caught:
        read(body, **inputs)
    return caught.value


# Row and columnar format, with the examples of TensorFlow Serving's documentation.

THREE_INPUTS = {"tag": STRING, "signal": INT32, "sensor": FLOAT}


def check_documented_example(request: PredictInput) -> None:
    assert request.inputs["tag"].tolist() == [b"foo", b"bar"]
    assert request.inputs["signal"].dtype == np.int32
    assert request.inputs["signal"].tolist() == [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]]
    assert request.inputs["sensor"].dtype == np.float32
    assert request.inputs["sensor"].tolist() == [[[1.0, 2.0], [3.0, 4.0]], [[4.0, 5.0], [6.0, 8.0]]]


def test_the_documented_row_example_with_several_inputs() -> None:
    request = read(
        {
            "instances": [
                {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
                {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
            ]
        },
        **THREE_INPUTS,
    )
    assert request.by_row
    check_documented_example(request)


def test_the_documented_columnar_example() -> None:
    request = read(
        {
            "inputs": {
                "tag": ["foo", "bar"],
                "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
                "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
            }
        },
        **THREE_INPUTS,
    )
    assert not request.by_row
    check_documented_example(request)


def test_plain_instances_need_no_name() -> None:
    assert read({"instances": ["foo", "bar", "baz"]}, x=STRING).inputs["x"].tolist() == [b"foo", b"bar", b"baz"]
    assert read({"instances": [[[1, 2]], [[3, 4]]]}, x=INT32).inputs["x"].shape == (2, 1, 2)


def test_a_single_input_may_still_be_named_by_row() -> None:
    request = read({"instances": [{"x": [1.0]}, {"x": [2.0]}]}, x=FLOAT)
    assert request.inputs["x"].tolist() == [[1.0], [2.0]]


def test_columnar_input_may_be_a_bare_tensor_a_scalar_or_bytes() -> None:
    assert read({"inputs": [[1, 2]]}, x=INT64).inputs["x"].tolist() == [[1, 2]]
    assert read({"inputs": 7}, x=INT64).inputs["x"].shape == ()
    assert read({"inputs": {"b64": "aGk="}}, x=STRING).inputs["x"].item() == b"hi"
    assert read({"inputs": {"x": [1], "unknown": [2]}}, x=INT64).inputs.keys() == {"x"}


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}], [b"hello", b"world"]),
        ([[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]], [[b"hello"], [b"world"]]),
        ([{"x": [[{"b64": "aGVsbG8="}], ["w"]]}], [[[b"hello"], [b"w"]]]),
        ([{"b64": "aGk"}, "ä"], [b"hi", "ä".encode()]),
        ([{"b64": " aG\nk= "}], [b"hi"]),
        ([{"b64": ""}], [b""]),
    ],
)
def test_base64_objects_are_bytes(instances: list[Any], expected: list[Any]) -> None:
    assert read({"instances": instances}, x=STRING).inputs["x"].tolist() == expected


def test_bare_nan_and_infinity_are_numbers() -> None:
    request = read('{"instances": [NaN, Infinity, -Infinity, 1]}', x=FLOAT)
    values = request.inputs["x"].tolist()
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 1.0]


def test_the_signature_name_reaches_the_lookup() -> None:
    asked: list[str] = []

    def find(key: str) -> Signature:
        asked.append(key)
        return signature(x=FLOAT)

    read_predict(b'{"signature_name": "s", "instances": [1]}', find)
    read_predict(b'{"instances": [1]}', find)
    assert asked == ["s", ""]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("{", "JSON Parse error: "),
        ('{"instances": [1,]}', "at offset: "),
        ('{"instances": [1], "x": "NaN",}', "JSON Parse error: "),
        ("[1]", "JSON Value: [1] Is not object"),
        ("3", "Is not object"),
        (b'{"instances": ["\xff"]}', "JSON Parse error: "),
        (b'{"instances": ["\xff NaN"]}', "JSON Parse error: "),
        ('{"instances": ' + "[" * 3000 + "]" * 3000 + "}", "JSON Parse error: "),
        ('{"x": NaN, "instances": ' + "[" * 99999 + "]" * 99999 + "}", "JSON Parse error: "),
        ('{"x": NaN, "instances": ' + "9" * 9999 + "}", "JSON Parse error: "),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys to exist"),
        ('{"instances": 1}', "Excepting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"signature_name": 5, "instances": [1]}', "'signature_name' key must be a string value."),
        ('{"instances": [[1,2],[3,4],[5,6,7]]}', "element: 2 of 'instances' list. Error: INVALID_ARGUMENT: Expecting"),
        ('{"instances": [[1,2],[3,4],[5,6,7]]}', "Expecting tensor size: 2 but got: 3"),
        ('{"instances": [[1,2],[3,4],[[5,6]]]}', "Expecting shape [2] but got: [1,2]"),
        ('{"instances": [1, [1]]}', "Expecting shape [] but got: [1]"),
        ('{"instances": [[1, [2]]]}', "Encountered list at unexpected level: 1 expected < 1"),
        ('{"instances": [[[1], 2]]}', "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ('{"instances": [[[1], [2, 3]]]}', "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ('{"instances": [1, 2.5]}', "JSON Value: 2.5 Type: Number is not of expected type: int32"),
        ('{"instances": [1.0]}', "Type: Number is not of expected type: int32"),
        ('{"instances": [true]}', "JSON Value: true Type: True is not of expected type: int32"),
        ('{"instances": [null]}', "Type: Null is not of expected type: int32"),
        ('{"instances": ["1"]}', 'JSON Value: "1" Type: String is not of expected type: int32'),
        ('{"instances": [2147483648]}', "is not of expected type: int32"),
        ('{"instances": [1, {"x": 1}]}', "Expecting value/list but got object at item 1 of input list"),
        ('{"instances": [{"x": 1}, 1]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [{"y": 1}]}', "JSON object: does not have named input: y"),
        ('{"instances": [{"x": 1}, {}]}', "keys must be equal to: x"),
        ('{"instances": ' + "[" * 70 + "1" + "]" * 70 + "}", "at most 64 levels"),
        ('{"inputs": {"y": [1]}}', "Missing named input: x in 'inputs' object."),
        ('{"inputs": {"x": [[1], [2, 3]]}}', "Encountered list at unexpected size: 2"),
    ],
)
def test_a_wrong_document_says_what_is_wrong(body: str | bytes, message: str) -> None:
    error = refusal(body, x=INT32)
    assert error.code is Code.INVALID_ARGUMENT
    assert message in error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [1]}, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        ({"instances": [{"x": 1}]}, "keys must be equal to: x,y"),
        ({"inputs": {"x": 1}}, "Missing named input: y"),
    ],
)
def test_several_inputs_must_be_named(body: dict[str, Any], message: str) -> None:
    assert message in refusal(body, x=INT32, y=INT32).message


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (16777216, FLOAT, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        (1e39, FLOAT, "to float without loss of precision."),
        (2**53, DOUBLE, "to double without loss of precision."),
        (70000.0, HALF, "to half without loss of precision."),
        (256, UINT8, "is not of expected type: uint8"),
        (-1, UINT8, "is not of expected type: uint8"),
        (128, INT8, "is not of expected type: int8"),
        (2**63, INT64, "is not of expected type: int64"),
        (1, BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        (1, STRING, "is not of expected type: string"),
        ({"b64": "!"}, STRING, "Unable to base64 decode"),
        ({"b64": "ä"}, STRING, "Unable to base64 decode"),
        ({"b64": "a"}, STRING, "Unable to base64 decode"),
        ({"b64": 1}, STRING, 'JSON Value: {"b64": 1} not formatted correctly for base64 data'),
        ({"b64": "aGk="}, FLOAT, "Type: Object is not of expected type: float"),
    ],
)
def test_a_value_that_the_type_cannot_hold_is_refused(value: Any, dtype: int, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        read_tensor([value], spec(dtype), booleans=False)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert message in caught.value.message


def test_a_type_that_json_cannot_carry_is_unimplemented() -> None:
    with pytest.raises(ServingError, match="Conversion of JSON Value: 1 to type: complex64") as caught:
        read_tensor([1], spec(COMPLEX), booleans=False)
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_largest_and_smallest_values_of_each_type_are_read(dtype: int) -> None:
    kind = NUMPY_DTYPES[dtype]
    if kind.kind == "b":
        values: list[Any] = [True, False]
    elif kind.kind == "f":
        values = [float(np.finfo(kind).max), float(np.finfo(kind).min), 0, 2.5]
    else:
        values = [int(np.iinfo(kind).max), int(np.iinfo(kind).min)]
    array = read_tensor(values, spec(dtype), booleans=True)
    assert array.dtype == kind
    assert array.tolist() == values


def test_empty_inner_lists_have_a_shape() -> None:
    assert read({"instances": [[], []]}, x=INT32).inputs["x"].shape == (2, 0)
    assert read({"inputs": [[], []]}, x=STRING).inputs["x"].shape == (2, 0)


# What the fast way accepts is what the slow way reads.

JSON_SCALARS = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(-(2**64), 2**64),
    st.integers(-200, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-100, 100, width=16),
    st.text(max_size=3),
    st.just({"b64": "aGk="}),
)
JSON_TENSORS = st.recursive(JSON_SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@settings(max_examples=400, deadline=None)
@given(JSON_TENSORS, st.sampled_from([*NUMBERS, STRING, BFLOAT16]))
def test_the_fast_way_never_accepts_what_the_slow_way_refuses(value: Any, dtype: int) -> None:
    raw = orjson.dumps(value) if not _too_big(value) else json.dumps(value).encode()
    booleans = b"true" in raw or b"false" in raw
    fast = read_tensor_fast(value, spec(dtype).dtype, booleans=booleans)
    if fast is None:
        return
    if fast.dtype.kind == "f" or dtype == BFLOAT16:
        # The one documented leniency: whole numbers in a tensor that also holds decimal ones.
        value = _as_floats(value) if _holds_float(value) else value
    slow = walk_tensor(value, spec(dtype))
    assert fast.dtype == slow.dtype
    assert fast.shape == slow.shape
    np.testing.assert_array_equal(fast, slow)


def _too_big(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_too_big, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def _holds_float(value: Any) -> bool:
    return any(map(_holds_float, value)) if isinstance(value, list) else isinstance(value, float)


def _as_floats(value: Any) -> Any:
    return [_as_floats(element) for element in value] if isinstance(value, list) else float(value)


# Round trips: what is written reads back to the same array.


def assert_same(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    if left.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(left[~np.isnan(left)]), np.signbit(right[~np.isnan(right)]))
    np.testing.assert_array_equal(left, right)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda dtype: st.tuples(
            st.just(dtype), hnp.arrays(NUMPY_DTYPES[dtype], hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
        )
    ),
    st.booleans(),
)
def test_numbers_survive_the_way_to_json_and_back(case: tuple[int, np.ndarray[Any, Any]], by_row: bool) -> None:
    dtype, array = case
    body = write_predict({"y": array}, by_row=by_row)
    document = parse_object(body)
    (value,) = document.values()
    if array.dtype.kind == "f":
        value = _as_floats(value)  # a whole number beyond the exact ones is written with .0 and so is no integer
    assert_same(read_tensor(value, spec(dtype), booleans=array.dtype.kind == "b"), array)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=12), min_size=1, max_size=5))
def test_bytes_survive_the_way_to_json_and_back(values: list[bytes]) -> None:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    body = write_predict({"image_bytes": array}, by_row=True)
    assert read_tensor(parse_object(body)["predictions"], spec(STRING), booleans=False).tolist() == values


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_text_survives_the_way_to_json_and_back(values: list[str]) -> None:
    array = np.array([value.encode() for value in values], dtype=object)
    document = parse_object(write_predict({"label": array}, by_row=False))
    assert document["outputs"] == values


# What answers look like.


def test_floats_are_written_with_the_fewest_digits() -> None:
    array = np.array([0.2, 1.0, 9e6, 3e-05, -0.0], np.float32)
    assert dumps(write_tensor("y", array)) == b"[0.2,1.0,9000000.0,0.00003,-0.0]"
    assert dumps(write_tensor("y", array[:1].astype(np.float16))) == b"[0.19995117]"


def test_not_a_number_is_written_bare_at_any_depth() -> None:
    array = np.array([[[math.nan, 0.2], [1, -math.inf]]], np.float32)
    assert write_predict({"y": array}, by_row=True) == b'{"predictions":[[[NaN,0.2],[1.0,-Infinity]]]}'
    assert write_predict({"y": np.array(math.inf)}, by_row=False) == b'{"outputs":Infinity}'
    both = {"a": array[0, 0], "b": np.array([1, 2])}
    assert write_predict(both, by_row=True) == b'{"predictions":[{"a":NaN,"b":1},{"a":0.2,"b":2}]}'


def test_one_output_has_no_name_and_several_have() -> None:
    a, b = np.array([1, 2], np.int32), np.array([[True], [False]])
    assert json.loads(write_predict({"a": a}, by_row=True)) == {"predictions": [1, 2]}
    assert json.loads(write_predict({"a": a}, by_row=False)) == {"outputs": [1, 2]}
    assert json.loads(write_predict({"a": a, "b": b}, by_row=True)) == {
        "predictions": [{"a": 1, "b": [True]}, {"a": 2, "b": [False]}]
    }
    assert json.loads(write_predict({"a": a, "b": b}, by_row=False)) == {
        "outputs": {"a": [1, 2], "b": [[True], [False]]}
    }


def test_a_row_answer_needs_rows() -> None:
    scalar, two, three = np.array(1.0), np.zeros(2), np.zeros(3)
    with pytest.raises(ServingError, match="Tensor name: y has no shape information"):
        write_predict({"y": scalar}, by_row=True)
    with pytest.raises(ServingError, match="Tensor name: b has inconsistent batch size: 3 expecting: 2"):
        write_predict({"a": two, "b": three}, by_row=True)
    assert json.loads(write_predict({"a": scalar, "b": three}, by_row=False)) == {"outputs": {"a": 1.0, "b": [0, 0, 0]}}


def test_bytes_that_are_no_text_need_the_suffix() -> None:
    array = np.array([b"\xff\xfe"], dtype=object)
    with pytest.raises(ServingError, match="an output whose name ends in _bytes is sent as base64"):
        write_predict({"image": array}, by_row=True)
    assert json.loads(write_predict({"image_bytes": array}, by_row=True)) == {"predictions": [{"b64": "//4="}]}


def test_other_layouts_and_types_are_written_too() -> None:
    turned = np.arange(6, dtype=np.int16).reshape(2, 3).T
    assert json.loads(dumps(write_tensor("y", turned))) == [[0, 3], [1, 4], [2, 5]]
    brain = np.array([0.5, math.nan], ml_dtypes.bfloat16)
    assert dumps(write_tensor("y", brain)) == b"[0.5,NaN]"
    assert dumps(write_tensor("y", np.zeros((2, 0), np.float32))) == b"[[],[]]"
    with pytest.raises(ServingError, match="Failed to write JSON value for tensor type: complex64"):
        write_tensor("y", np.zeros(1, np.complex64))
