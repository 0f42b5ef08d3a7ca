"""TensorProto ⇄ NumPy arrays, both request forms fast: raw ``tensor_content`` and typed fields such as ``float_val``.

The rules are those of TensorFlow's ``Tensor::FromProto`` (``core/framework/tensor.cc``): a typed list that is shorter
than the shape says repeats its last value, an empty one means zeros. Unlike it we refuse a list that is longer, which
it cuts without a word. Strings are object arrays of ``bytes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto

from service.modelserver.signature import DT_STRING, NUMPY_DTYPES
from service.modelserver.status import Code, ServingError

Array = np.ndarray[Any, Any]

#: A few bytes can ask for any number of repeated values; more than this is refused.
MAX_REPEATED_BYTES = 256 << 20

_HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def to_array(tensor: TensorProto, alias: str) -> Array:
    """Read a tensor; the array may be a read-only view of the message.

    Args:
        tensor: From a request.
        alias: The input's name, for messages.

    Raises:
        ServingError: INVALID_ARGUMENT: type, shape and values do not fit together.
    """
    number = tensor.dtype
    dtype = NUMPY_DTYPES.get(number)
    if dtype is None:
        raise _malformed(alias, f"its type {number} is not supported")
    if tensor.tensor_shape.unknown_rank:
        raise _malformed(alias, "its shape is unknown")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise _malformed(alias, f"its shape {_text(shape)} has a negative size")
    count = math.prod(shape)
    content = tensor.tensor_content
    if content:
        return _from_content(content, dtype, count, alias).reshape(shape)
    values = _VALUES[number](tensor)
    given = values.size
    if given != count:
        values = _repeated(values, given, count, dtype, alias, shape)
    return values.reshape(shape)


def fill(tensor: TensorProto, array: Array, number: int, *, as_content: bool) -> None:
    """Write an array into an empty message.

    Args:
        tensor: To write into.
        array: What the model answered.
        number: Its ``tensorflow.DataType``.
        as_content: As ``tensor_content`` (never for strings) rather than as a typed field.
    """
    tensor.dtype = number
    dims = tensor.tensor_shape.dim
    for size in array.shape:
        dims.add().size = size
    if as_content and number != DT_STRING:
        tensor.tensor_content = array.tobytes()
        return
    packed_tag = _PACKED_AS_MEMORY.get(number)
    if packed_tag is not None:
        # On the wire a packed float_val or double_val is the array's memory: merging that is a hundred times faster
        # than a list of Python floats.
        raw = array.tobytes()
        if raw:
            tensor.MergeFromString(packed_tag + _varint(len(raw)) + raw)
        return
    _FILLERS[number](tensor, array.ravel())


def _from_content(content: bytes, dtype: np.dtype[Any], count: int, alias: str) -> Array:
    if dtype.hasobject:
        raise _malformed(alias, "strings must be given as string_val, not tensor_content")
    if len(content) != count * dtype.itemsize:
        raise _malformed(
            alias, f"tensor_content has {len(content)} bytes where type and shape need {count * dtype.itemsize}"
        )
    return np.frombuffer(content, dtype)


def _repeated(values: Array, given: int, count: int, dtype: np.dtype[Any], alias: str, shape: tuple[int, ...]) -> Array:
    if given > count:
        raise _malformed(alias, f"it holds {given} values where its shape {_text(shape)} needs {count}")
    if count * dtype.itemsize > MAX_REPEATED_BYTES:
        raise _malformed(alias, f"it holds {given} values for the shape {_text(shape)}; that is too many to repeat")
    whole = np.empty(count, dtype)
    whole[:given] = values
    last: Any = values[-1] if given else (b"" if dtype.hasobject else dtype.type(0))
    whole[given:] = last
    return whole


def _strings(tensor: TensorProto) -> Array:
    values = np.empty(len(tensor.string_val), dtype=object)
    values[:] = tensor.string_val
    return values


def _reader(field: str, wire: Any, dtype: Any) -> Callable[[TensorProto], Array]:
    """Reads a repeated field of ``wire`` values as ``dtype``; narrower integers wrap, as they do in TensorFlow."""
    if np.dtype(dtype) in _HALVES:
        return lambda tensor: np.array(getattr(tensor, field), np.int32).astype(np.uint16).view(dtype)
    if wire is dtype:
        return lambda tensor: np.array(getattr(tensor, field), dtype)
    return lambda tensor: np.array(getattr(tensor, field), wire).astype(dtype)


def _complex_reader(field: str, wire: Any, dtype: Any) -> Callable[[TensorProto], Array]:
    """Reads real and imaginary parts in turn; an odd one at the end is dropped."""
    return lambda tensor: np.array(getattr(tensor, field)[: len(getattr(tensor, field)) // 2 * 2], wire).view(dtype)


_VALUES: dict[int, Callable[[TensorProto], Array]] = {
    1: _reader("float_val", np.float32, np.float32),
    2: _reader("double_val", np.float64, np.float64),
    3: _reader("int_val", np.int32, np.int32),
    4: _reader("int_val", np.int32, np.uint8),
    5: _reader("int_val", np.int32, np.int16),
    6: _reader("int_val", np.int32, np.int8),
    7: _strings,
    8: _complex_reader("scomplex_val", np.float32, np.complex64),
    9: _reader("int64_val", np.int64, np.int64),
    10: _reader("bool_val", np.bool_, np.bool_),
    14: _reader("half_val", np.int32, ml_dtypes.bfloat16),
    17: _reader("int_val", np.int32, np.uint16),
    18: _complex_reader("dcomplex_val", np.float64, np.complex128),
    19: _reader("half_val", np.int32, np.float16),
    22: _reader("uint32_val", np.uint32, np.uint32),
    23: _reader("uint64_val", np.uint64, np.uint64),
}


def _filler(field: str, view: Any = None) -> Callable[[TensorProto, Array], None]:
    def write(tensor: TensorProto, values: Array) -> None:
        getattr(tensor, field).extend((values if view is None else values.view(view)).tolist())

    return write


def _fill_strings(tensor: TensorProto, values: Array) -> None:
    tensor.string_val.extend(value if isinstance(value, bytes) else str(value).encode() for value in values.tolist())


_FILLERS: dict[int, Callable[[TensorProto, Array], None]] = {
    3: _filler("int_val"),
    4: _filler("int_val"),
    5: _filler("int_val"),
    6: _filler("int_val"),
    7: _fill_strings,
    8: _filler("scomplex_val", np.float32),
    9: _filler("int64_val"),
    10: _filler("bool_val"),
    14: _filler("half_val", np.uint16),
    17: _filler("int_val"),
    18: _filler("dcomplex_val", np.float64),
    19: _filler("half_val", np.uint16),
    22: _filler("uint32_val"),
    23: _filler("uint64_val"),
}

#: DataType → tag (field number and wire type 2) of the packed field whose wire form equals the array's memory.
_PACKED_AS_MEMORY = {1: bytes([5 << 3 | 2]), 2: bytes([6 << 3 | 2])}


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _malformed(alias: str, why: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}: {why}")


def _text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
