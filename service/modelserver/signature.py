"""Signature: what a model takes and gives, and the check of a request against it.

The errors are TensorFlow Serving's (``servables/tensorflow/predict_util.cc``). Types and shapes are checked here too,
before a request may share a batch with others; TensorFlow Serving leaves that to the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from service.modelserver.status import Code, ServingError

DEFAULT_SIGNATURE_KEY = "serving_default"

#: ``tensorflow.DataType`` number → NumPy type of the arrays that carry it. Strings are object arrays of ``bytes``.
NUMPY_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    7: np.dtype(object),
    8: np.dtype(np.complex64),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(np.uint16),
    18: np.dtype(np.complex128),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
}

#: The same types by TensorFlow's own short names, for messages and the JSON of the REST API.
DTYPE_NAMES: dict[int, str] = {
    1: "float",
    2: "double",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "half",
    22: "uint32",
    23: "uint64",
}

DT_STRING = 7


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        dtype: Type of the array; ``object`` (elements are ``bytes``) for strings.
        tf_dtype: The same as a ``tensorflow.DataType`` number.
        shape: Sizes with None for an unknown one; None as a whole when even the rank is unknown.
        name: Name of the tensor in the graph, such as ``serving_default_x:0``.
    """

    dtype: np.dtype[Any]
    tf_dtype: int
    shape: tuple[int | None, ...] | None
    name: str = ""

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model.

    Attributes:
        key: Its name in the model, such as ``serving_default``.
        method_name: ``tensorflow/serving/predict``, ``…/classify`` or ``…/regress``.
        inputs: By alias.
        outputs: By alias, in the model's order.
    """

    key: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @property
    def batchable(self) -> bool:
        """Whether every input has a first axis along which requests can be joined."""
        return bool(self.inputs) and all(
            spec.shape is None or (len(spec.shape) > 0 and spec.shape[0] is None) for spec in self.inputs.values()
        )


def check_inputs(
    signature: Signature, inputs: Mapping[str, np.ndarray[Any, Any]], output_filter: Collection[str] = ()
) -> Sequence[str]:
    """Check a request and say which outputs it wants.

    Args:
        signature: What the model takes.
        inputs: The request's arrays, by alias.
        output_filter: Aliases of the wanted outputs; empty for all.

    Returns:
        Aliases of the wanted outputs.

    Raises:
        ServingError: INVALID_ARGUMENT: inputs are missing or unknown, a type or shape does not fit, or an output is
            unknown or named twice.
    """
    specs = signature.inputs
    if inputs.keys() != specs.keys():
        raise _wrong_names(inputs, specs)
    for alias, array in inputs.items():
        spec = specs[alias]
        if array.dtype != spec.dtype:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Expects {alias} to be {DTYPE_NAMES.get(spec.tf_dtype, spec.tf_dtype)} "
                f"but {_dtype_name(array.dtype)} is provided",
            )
        if not spec.admits(array.shape):
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"input {alias} has shape {_shape_text(array.shape)}, which does not fit the signature's "
                f"{_shape_text(spec.shape or ())}",
            )
    if not output_filter:
        return tuple(signature.outputs)
    return _checked_filter(signature, output_filter)


def _wrong_names(inputs: Mapping[str, object], specs: Mapping[str, object]) -> ServingError:
    sent, wanted = set(inputs), set(specs)
    if len(sent) != len(wanted):
        return ServingError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set_text(sent)}) != "
            f"len({_set_text(wanted)}). Sent extra: {_set_text(sent - wanted)}. "
            f"Missing but required: {_set_text(wanted - sent)}.",
        )
    return ServingError(
        Code.INVALID_ARGUMENT,
        f"input tensor alias not found in signature: {min(sent - wanted)}. "
        f"Inputs expected to be in the set {_set_text(wanted)}.",
    )


def _checked_filter(signature: Signature, output_filter: Collection[str]) -> Sequence[str]:
    seen: dict[str, None] = {}
    for alias in output_filter:
        if alias not in signature.outputs:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set_text(signature.outputs)}.",
            )
        if alias in seen:
            raise ServingError(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        seen[alias] = None
    return tuple(seen)


def _set_text(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape_text(shape: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"


def _dtype_name(dtype: np.dtype[Any]) -> str:
    for number, known in NUMPY_DTYPES.items():
        if known == dtype:
            return DTYPE_NAMES[number]
    return str(dtype)
