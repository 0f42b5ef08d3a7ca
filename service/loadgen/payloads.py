"""Payloads: a small pool of ready-made requests with seeded random values of the types and shapes that a model wants.

Requests are serialised once and sent again and again, so that the generator spends its time on sending. The values do
not matter to a model's speed, but shapes, types and (for embeddings) the range of integers do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import InvalidValueError
from service.loadgen import messages
from service.loadgen.signatures import DEFAULT_SIGNATURE, DTYPE_NUMBERS, ModelSignature, TensorInput

Array = NDArray[Any]

_NUMPY: Mapping[str, Any] = {
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

#: TensorProto's typed field for each type; half-precision values travel as the integers of their bits.
_TYPED_FIELDS: Mapping[str, str] = {
    "DT_FLOAT": "float_val",
    "DT_DOUBLE": "double_val",
    "DT_HALF": "half_val",
    "DT_INT8": "int_val",
    "DT_INT16": "int_val",
    "DT_INT32": "int_val",
    "DT_INT64": "int64_val",
    "DT_UINT8": "int_val",
    "DT_UINT16": "int_val",
    "DT_UINT32": "uint32_val",
    "DT_UINT64": "uint64_val",
    "DT_BOOL": "bool_val",
}

_STRING_LENGTH = 8
_JSON_DECIMALS = 6


class Encoding(StrEnum):
    """How tensors are written."""

    TENSOR_CONTENT = "tensor_content"
    """gRPC: raw bytes (strings in ``string_val`` as always)."""
    TYPED = "typed"
    """gRPC: one number an element (``float_val`` …)."""
    ROW = "row"
    """REST: ``instances``, a list of examples."""
    COLUMNAR = "columnar"
    """REST: ``inputs``, a list for each input."""


@dataclass(frozen=True, kw_only=True)
class RequestSpec:
    """What to ask of the server.

    Attributes:
        model: Name of the model.
        signature: Key of the signature.
        batch: Examples a request: the size of each input's first dimension where that is free.
        dims: Sizes for the free dimensions after the first, in order, for each input that has some; 1 where missing.
        int_low: Smallest integer drawn.
        int_high: One above the largest integer drawn: a vocabulary's size, for instance.
        encoding: How tensors are written; None for the protocol's usual way (``tensor_content``, ``row``).
        pool_size: How many different requests are made and sent in turn.

    Raises:
        InvalidValueError: A value is out of range.
    """

    model: str
    signature: str = DEFAULT_SIGNATURE
    batch: int = 1
    dims: Mapping[str, Sequence[int]] = field(default_factory=dict)
    int_low: int = 0
    int_high: int = 100
    encoding: Encoding | None = None
    pool_size: int = 16

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidValueError("model", "must be named")
        if not 1 <= self.batch <= 1_000_000:
            raise InvalidValueError("batch", f"must lie in [1, 1000000], not {self.batch}")
        if not self.int_low < self.int_high:
            raise InvalidValueError("int-range", f"is LOW:HIGH with LOW < HIGH, not {self.int_low}:{self.int_high}")
        if not 1 <= self.pool_size <= 4096:
            raise InvalidValueError("pool-size", f"must lie in [1, 4096], not {self.pool_size}")
        for name, sizes in self.dims.items():
            if any(size < 0 for size in sizes):
                raise InvalidValueError("dim", f"sizes of {name!r} must be ≥ 0, not {list(sizes)}")


def concrete_shape(tensor: TensorInput, spec: RequestSpec) -> tuple[int, ...]:
    """The shape to send: the batch first, then ``spec.dims`` for what else is free.

    Raises:
        InvalidValueError: A fixed first dimension is not the batch asked for, or there are more sizes than free
            dimensions.
    """
    sizes = list(spec.dims.get(tensor.name, ()))
    if tensor.shape is None:
        return (spec.batch, *sizes)
    if tensor.shape and tensor.shape[0] is not None and spec.batch not in (1, tensor.shape[0]):
        raise InvalidValueError("batch", f"input {tensor.name!r} has a fixed first dimension of {tensor.shape[0]}")
    shape: list[int] = []
    for axis, size in enumerate(tensor.shape):
        if size is not None:
            shape.append(size)
        elif axis == 0:
            shape.append(spec.batch)
        else:
            shape.append(sizes.pop(0) if sizes else 1)
    if sizes:
        raise InvalidValueError("dim", f"input {tensor.name!r} of shape {_show(tensor)} has fewer free dimensions")
    return tuple(shape)


def random_values(tensor: TensorInput, shape: tuple[int, ...], spec: RequestSpec, rng: np.random.Generator) -> Array:
    """Floats in [0, 1), integers in the spec's range (cut to the type's), fair booleans, short lower-case strings.

    Raises:
        InvalidValueError: The type is none that can be made up.
    """
    if tensor.dtype == "DT_STRING":
        letters = rng.integers(ord("a"), ord("z") + 1, size=(*shape, _STRING_LENGTH), dtype=np.uint8)
        return letters.view(f"S{_STRING_LENGTH}").reshape(shape).astype(object)
    kind = _NUMPY.get(tensor.dtype)
    if kind is None:
        raise InvalidValueError("model", f"input {tensor.name!r} is of type {tensor.dtype}, which cannot be generated")
    dtype = np.dtype(kind)
    if dtype.kind == "b":
        return rng.integers(0, 2, size=shape).astype(bool)
    if dtype.kind == "f":
        return rng.random(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(spec.int_low, int(limits.min)), min(spec.int_high, int(limits.max) + 1)
    if low >= high:
        raise InvalidValueError("int-range", f"{spec.int_low}:{spec.int_high} holds no value of {tensor.dtype}")
    return rng.integers(low, high, size=shape, dtype=dtype)


def make_pool(
    signature: ModelSignature, spec: RequestSpec, encoding: Encoding, rng: np.random.Generator
) -> list[bytes]:
    """``spec.pool_size`` serialised request bodies.

    Raises:
        InvalidValueError: The signature and the spec do not fit.
    """
    unknown = set(spec.dims) - {tensor.name for tensor in signature.inputs}
    if unknown:
        names = ", ".join(tensor.name for tensor in signature.inputs)
        raise InvalidValueError("dim", f"{sorted(unknown)[0]!r} is no input of {signature.name!r}; inputs are {names}")
    shapes = {tensor.name: concrete_shape(tensor, spec) for tensor in signature.inputs}
    pool = []
    for _ in range(spec.pool_size):
        values = {t.name: random_values(t, shapes[t.name], spec, rng) for t in signature.inputs}
        if encoding in (Encoding.ROW, Encoding.COLUMNAR):
            pool.append(json_body(signature, values, row=encoding is Encoding.ROW))
        else:
            pool.append(proto_body(signature, values, typed=encoding is Encoding.TYPED))
    return pool


def proto_body(signature: ModelSignature, values: Mapping[str, Array], *, typed: bool) -> bytes:
    """A serialised ``PredictRequest``; the signature is named only where it is not the default."""
    request = messages.PredictRequest()
    request.model_spec.name = signature.model
    if signature.name != DEFAULT_SIGNATURE:
        request.model_spec.signature_name = signature.name
    for tensor in signature.inputs:
        array = values[tensor.name]
        proto = request.inputs[tensor.name]
        proto.dtype = DTYPE_NUMBERS[tensor.dtype]
        proto.tensor_shape.SetInParent()  # A scalar's shape is empty, yet present.
        for size in array.shape:
            proto.tensor_shape.dim.add(size=size)
        if tensor.dtype == "DT_STRING":
            proto.string_val.extend(array.ravel().tolist())
        elif typed:
            bits = array.view(np.uint16) if tensor.dtype == "DT_HALF" else array
            getattr(proto, _TYPED_FIELDS[tensor.dtype]).extend(bits.ravel().tolist())
        else:
            proto.tensor_content = array.tobytes()
    body: bytes = request.SerializeToString(deterministic=True)
    return body


def json_body(signature: ModelSignature, values: Mapping[str, Array], *, row: bool) -> bytes:
    """A body for ``:predict``.

    Raises:
        InvalidValueError: Row format where the inputs do not share a first dimension.
    """
    document: dict[str, Any] = {}
    if signature.name != DEFAULT_SIGNATURE:
        document["signature_name"] = signature.name
    lists = {name: _plain(array) for name, array in values.items()}
    if not row:
        document["inputs"] = next(iter(lists.values())) if len(lists) == 1 else lists
    elif len({array.shape[:1] for array in values.values()}) != 1 or not all(a.ndim for a in values.values()):
        raise InvalidValueError("payload", "row format needs inputs that share their first dimension; use columnar")
    elif len(lists) == 1:
        document["instances"] = next(iter(lists.values()))
    else:
        document["instances"] = [dict(zip(lists, row_, strict=True)) for row_ in zip(*lists.values(), strict=True)]
    return json.dumps(document, separators=(",", ":")).encode()


def _plain(array: Array) -> Any:
    if array.dtype == object:
        return np.vectorize(lambda raw: raw.decode(), otypes=[object])(array).tolist()
    if array.dtype.kind == "f":
        return np.round(array.astype(np.float64), _JSON_DECIMALS).tolist()
    return array.tolist()


def _show(tensor: TensorInput) -> str:
    return str(["?" if size is None else size for size in tensor.shape or ()])
