"""JSON values to arrays, and back.

Both directions have a fast way, in which NumPy and orjson do everything, and a slow way that walks through the values
one by one. Reading takes the fast way only where it cannot accept what TensorFlow Serving refuses; all errors come from
the slow way, in the order and with the messages of ``util/json_tensor.cc``.

Where ours is wider or stricter: half, bfloat16 and uint16 inputs are read too; numbers must lie in the range of small
integer types; in a tensor that mixes whole and decimal numbers, whole ones may lose digits in float types.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import orjson

from service.modelserver.json_values import (
    decode_base64,
    encode_base64,
    encode_text,
    invalid,
    shown,
    type_name,
)
from service.modelserver.signature import DTYPE_NAMES, TensorSpec
from service.modelserver.status import Code, ServingError

Array = np.ndarray[Any, Any]

#: NumPy's limit; TensorFlow's own is higher, but no model has such tensors.
MAX_RANK = 64

#: Outputs whose alias ends so come back as base64.
BYTES_SUFFIX = "_bytes"

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

#: Float type → the largest n such that all whole numbers up to n are exact.
_LARGEST_WHOLE: dict[np.dtype[Any], int] = {
    np.dtype(np.float16): 2**11 - 1,
    _BFLOAT16: 2**8 - 1,
    np.dtype(np.float32): 2**24 - 1,
    np.dtype(np.float64): 2**53 - 1,
}
_NOT_FINITE = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}


def read_tensor(value: Any, spec: TensorSpec, *, booleans: bool) -> Array:
    """The array that a (nested) JSON value stands for.

    Args:
        value: A scalar or nested lists of equal length.
        spec: Gives the type; the shape is not checked here.
        booleans: Whether the document may hold ``true`` or ``false`` (NumPy would take them for numbers).

    Raises:
        ServingError: INVALID_ARGUMENT: ragged, too deep, or a value that is not of the type; UNIMPLEMENTED for a type
            that JSON cannot carry.
    """
    array = read_tensor_fast(value, spec.dtype, booleans=booleans)
    return walk_tensor(value, spec) if array is None else array


def read_tensor_fast(value: Any, dtype: np.dtype[Any], *, booleans: bool) -> Array | None:
    """As :func:`read_tensor`, but None wherever something might be wrong."""
    if dtype.kind == "O":
        return _fast_strings(value)
    if dtype.kind == "c" or (booleans and dtype.kind != "b"):
        return None
    try:
        found = np.array(value)
    except (ValueError, OverflowError):  # ragged; beyond every integer type
        return None
    if found.size == 0:
        return found.astype(dtype) if found.dtype.kind == "f" else None
    if dtype in _LARGEST_WHOLE:
        return _fast_floats(found, dtype)
    if dtype.kind == "b":
        return found if found.dtype.kind == "b" else None
    if found.dtype.kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    return found.astype(dtype) if found.min() >= limits.min and found.max() <= limits.max else None


def _fast_strings(value: Any) -> Array | None:
    """A flat list of plain strings; anything else is walked."""
    if type(value) is not list:
        return None
    array = np.empty(len(value), dtype=object)
    try:
        array[:] = [text.encode() for text in value]
    except (AttributeError, UnicodeEncodeError):
        return None
    return array


def _fast_floats(found: Array, dtype: np.dtype[Any]) -> Array | None:
    if found.dtype.kind in "iu":
        largest = _LARGEST_WHOLE[dtype]
        return found.astype(dtype) if found.min() >= -largest and found.max() <= largest else None
    if found.dtype.kind != "f":
        return None
    if dtype == found.dtype:
        return found
    with np.errstate(over="ignore"):
        array = found.astype(dtype)
    finite = np.isfinite(array)
    return array if finite.all() or (finite == np.isfinite(found)).all() else None  # None: a number too large


def walk_tensor(value: Any, spec: TensorSpec) -> Array:
    """As :func:`read_tensor`, value by value."""
    shape = shape_of(value)
    if len(shape) > MAX_RANK:
        raise invalid(f"lists are nested {len(shape)} deep; at most {MAX_RANK} levels are allowed")
    leaves: list[Any] = []
    with np.errstate(over="ignore"):  # the reader looks for overflow itself
        _collect(value, shape, 0, _reader(spec), leaves)
    array = np.empty(len(leaves), dtype=spec.dtype)
    array[:] = leaves
    return array.reshape(shape)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape that the first element of each list suggests."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _collect(value: Any, shape: tuple[int, ...], level: int, read: Callable[[Any], Any], leaves: list[Any]) -> None:
    """Append all leaves of ``value``, in order, checking that it has the shape."""
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        leaves.append(read(value))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _collect(element, shape, level + 1, read, leaves)


def _reader(spec: TensorSpec) -> Callable[[Any], Any]:
    """What turns one JSON scalar into an element of the type."""
    dtype, name = spec.dtype, DTYPE_NAMES.get(spec.tf_dtype, str(spec.tf_dtype))

    def wrong(value: Any) -> ServingError:
        return invalid(f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {name}")

    def read_string(value: Any) -> bytes:
        if isinstance(value, str):
            return encode_text(value)
        if isinstance(value, dict):
            return decode_base64(value)
        raise wrong(value)

    def read_bool(value: Any) -> bool:
        if not isinstance(value, bool):
            raise wrong(value)
        return value

    def read_whole(value: Any) -> int:
        limits = np.iinfo(dtype)
        if type(value) is not int or not limits.min <= value <= limits.max:
            raise wrong(value)
        return value

    def read_float(value: Any) -> float:
        if type(value) is int:
            fits = abs(value) <= _LARGEST_WHOLE[dtype]
        elif type(value) is float:
            # Rounded first: the shortest form of the largest value of a type may lie a little above it.
            fits = not math.isfinite(value) or bool(np.isfinite(dtype.type(value)))
        else:
            raise wrong(value)
        if not fits:
            raise invalid(f"Cannot convert JSON value: {shown(value)} to {name} without loss of precision.")
        return float(value)

    def refuse(value: Any) -> Any:
        raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {name}")

    if dtype.kind == "O":
        return read_string
    if dtype.kind == "b":
        return read_bool
    if dtype.kind in "iu":
        return read_whole
    return read_float if dtype in _LARGEST_WHOLE else refuse


def write_tensor(alias: str, array: Array) -> Any:
    """The array as something that :func:`dumps` writes: itself, a scalar, or a list with one item a row.

    Floats are written with the fewest digits that read back to the same value of the same type.

    Raises:
        ServingError: INVALID_ARGUMENT: a type that JSON cannot carry, or text that is not UTF-8 in an output whose
            alias does not end in ``_bytes``.
    """
    if array.dtype.kind == "O":
        return _write_strings(alias, array.tolist())
    if array.dtype == _BFLOAT16:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _write_with_bare_tokens(array)
    if array.dtype.kind not in "fiub":
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype}")
    if array.ndim == 0:
        return array[()]
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def dumps(document: Any) -> bytes:
    """Compact JSON of a document made of :func:`write_tensor`'s results."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _write_strings(alias: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_write_strings(alias, element) for element in value]
    data = value.encode() if isinstance(value, str) else value
    if alias.endswith(BYTES_SUFFIX):
        return encode_base64(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise invalid(
            f"Output {alias} holds bytes that are not UTF-8 text; an output whose name ends in {BYTES_SUFFIX} "
            "is sent as base64"
        ) from None


def _write_with_bare_tokens(array: Array) -> Any:
    """NaN and infinities as bare tokens, which orjson has no way to write: the text is put together by hand."""
    flat = array.ravel()
    tokens = dumps(np.where(np.isfinite(flat), flat, array.dtype.type(0)))[1:-1].split(b",")
    for index in np.flatnonzero(~np.isfinite(flat)).tolist():
        tokens[index] = _NOT_FINITE[str(float(flat[index]))]
    for size in reversed(array.shape[1:]):
        tokens = [b"[" + b",".join(tokens[at : at + size]) + b"]" for at in range(0, len(tokens), size)]
    rows = [orjson.Fragment(token) for token in tokens]
    return rows if array.ndim else rows[0]
