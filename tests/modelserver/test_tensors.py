"""TensorProto ⇄ arrays, against TensorFlow's own reading and writing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from service.modelserver.signature import NUMPY_DTYPES
from service.modelserver.status import Code, ServingError
from service.modelserver.tensors import fill, to_array

NUMERIC = [number for number in NUMPY_DTYPES if number != 7]
SHAPES = [(), (0,), (1,), (5,), (2, 3), (2, 0, 3)]


def example(number: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    source = np.random.default_rng(number)
    dtype = NUMPY_DTYPES[number]
    if number == 7:
        values = np.empty(shape, object)
        values[...] = b"\x00\xffabc"
        return values
    if number == 10:
        return source.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "c":
        return (source.normal(size=shape) + 1j * source.normal(size=shape)).astype(dtype)
    return source.integers(0, 100, shape).astype(dtype)


def tensor(shape: tuple[int, ...], number: int = 1, **fields: Any) -> TensorProto:
    proto = TensorProto(dtype=number, **fields)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


def refusal(proto: TensorProto) -> str:
    with pytest.raises(ServingError) as raised:
        to_array(proto, "x")
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("number", NUMPY_DTYPES)
@pytest.mark.parametrize("as_content", [True, False], ids=["content", "typed"])
def test_what_we_write_is_what_tensorflow_reads_and_what_we_read(
    number: int, shape: tuple[int, ...], as_content: bool
) -> None:
    array = example(number, shape)
    proto = TensorProto()
    fill(proto, array, number, as_content=as_content)
    assert bool(proto.tensor_content) == (as_content and number != 7 and array.size > 0)
    for read in (tf.make_ndarray(proto), to_array(proto, "x")):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("number", NUMPY_DTYPES)
def test_what_tensorflow_writes_is_what_we_read(number: int, shape: tuple[int, ...]) -> None:
    array = example(number, shape)
    read = to_array(tf.make_tensor_proto(array, dtype=number, shape=shape), "x")
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_a_shorter_list_repeats_its_last_value() -> None:
    assert to_array(tensor((4,), float_val=[1.0, 2.0]), "x").tolist() == [1.0, 2.0, 2.0, 2.0]
    assert to_array(tensor((2, 2), 7, string_val=[b"a"]), "x").tolist() == [[b"a", b"a"], [b"a", b"a"]]


@pytest.mark.parametrize("number", NUMPY_DTYPES)
def test_no_value_at_all_means_zeros(number: int) -> None:
    read = to_array(tensor((3,), number), "x")
    assert read.dtype == NUMPY_DTYPES[number]
    assert read.tolist() == [b"" if number == 7 else 0] * 3


def test_narrow_integers_wrap_as_they_do_in_tensorflow() -> None:
    assert to_array(tensor((2,), 4, int_val=[257, -1]), "x").tolist() == [1, 255]


def test_special_floats_survive() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    proto = TensorProto()
    fill(proto, array, 1, as_content=False)
    assert to_array(proto, "x").tobytes() == array.tobytes()


def test_a_large_answer_in_typed_fields_is_whole() -> None:
    array = np.arange(100_000, dtype=np.float64)
    proto = TensorProto()
    fill(proto, array, 2, as_content=False)
    assert len(proto.double_val) == array.size
    np.testing.assert_array_equal(to_array(TensorProto.FromString(proto.SerializeToString()), "x"), array)


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor((2,), float_val=[1, 2, 3]), "it holds 3 values where its shape [2] needs 2"),
        (tensor((2,), tensor_content=b"12345"), "tensor_content has 5 bytes where type and shape need 8"),
        (tensor((2,), 7, tensor_content=b"12345"), "strings must be given as string_val"),
        (tensor((-1,), float_val=[1]), "its shape [-1] has a negative size"),
        (tensor((1 << 20, 1 << 20, 1 << 20), float_val=[1]), "that is too many to repeat"),
        (tensor((1 << 62,), 7), "that is too many to repeat"),
        (tensor((1,), 0), "its type 0 is not supported"),
        (tensor((1,), 20), "its type 20 is not supported"),
        (TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "its shape is unknown"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(proto: TensorProto, message: str) -> None:
    assert refusal(proto).startswith("tensor parsing error: x: ")
    assert message in refusal(proto)
