"""Signatures: what a model wants as inputs, read from the metadata that it publishes over gRPC or REST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.loadgen import messages
from service.loadgen.target import TargetError

#: What TensorFlow Serving takes when a request names no signature.
DEFAULT_SIGNATURE = "serving_default"

#: TensorFlow's numbers of the types that clients send (tensorflow/core/framework/types.proto).
DTYPE_NUMBERS: Mapping[str, int] = {
    "DT_FLOAT": 1,
    "DT_DOUBLE": 2,
    "DT_INT32": 3,
    "DT_UINT8": 4,
    "DT_INT16": 5,
    "DT_INT8": 6,
    "DT_STRING": 7,
    "DT_INT64": 9,
    "DT_BOOL": 10,
    "DT_UINT16": 17,
    "DT_HALF": 19,
    "DT_UINT32": 22,
    "DT_UINT64": 23,
}
_DTYPE_NAMES = {number: name for name, number in DTYPE_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class TensorInput:
    """One input of a signature.

    Attributes:
        name: Its alias in requests.
        dtype: TensorFlow's name of the type, such as ``DT_FLOAT``.
        shape: Sizes, None where any size goes; None as a whole where even the rank is free.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """What requests of one signature look like.

    Attributes:
        model: Name of the model.
        name: Key of the signature.
        inputs: Its inputs, ordered by name.
    """

    model: str
    name: str
    inputs: tuple[TensorInput, ...]


def from_response(payload: bytes, model: str, name: str) -> ModelSignature:
    """Read a serialised ``GetModelMetadataResponse``.

    Raises:
        TargetError: It holds no signatures, or not the one named.
    """
    response = messages.GetModelMetadataResponse.FromString(payload)
    if "signature_def" not in response.metadata:
        raise TargetError(f"the metadata of model {model!r} holds no signatures")
    signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    _check_known(model, name, list(signatures))
    inputs = signatures[name].inputs
    return ModelSignature(
        model,
        name,
        tuple(
            TensorInput(
                alias,
                _DTYPE_NAMES.get(inputs[alias].dtype, f"DT_{inputs[alias].dtype}"),
                None
                if inputs[alias].tensor_shape.unknown_rank
                else _sizes([dim.size for dim in inputs[alias].tensor_shape.dim]),
            )
            for alias in sorted(inputs)
        ),
    )


def from_json(document: Any, model: str, name: str) -> ModelSignature:
    """Read the answer of ``GET /v1/models/NAME/metadata``.

    Raises:
        TargetError: It is not such an answer, or the signature is not in it.
    """
    try:
        signatures = document["metadata"]["signature_def"]["signature_def"]
        _check_known(model, name, list(signatures))
        inputs = []
        for alias, info in sorted(signatures[name]["inputs"].items()):
            shape = info["tensor_shape"]
            sizes = None if shape.get("unknown_rank") else _sizes([int(dim["size"]) for dim in shape.get("dim", ())])
            inputs.append(TensorInput(alias, info["dtype"], sizes))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TargetError(f"the metadata of model {model!r} cannot be understood: {error!r}") from error
    return ModelSignature(model, name, tuple(inputs))


def _sizes(raw: list[int]) -> tuple[int | None, ...]:
    return tuple(size if size >= 0 else None for size in raw)


def _check_known(model: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise TargetError(f"model {model!r} has no signature {name!r}; it has {', '.join(sorted(known)) or 'none'}")
