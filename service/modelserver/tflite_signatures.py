"""What a TensorFlow Lite file takes and gives, in the words of a SavedModel.

TensorFlow Serving reads signatures from an older place in the file, and where there are none makes up one from its
inputs and outputs, named by their tensors. We take the signatures that today's converter writes; without them we do
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from service.modelserver.signature import DT_STRING, NUMPY_DTYPES, Signature, TensorSpec
from service.modelserver.status import Code, ServingError
from service.modelserver.tflite_interpreter import Array, Details, Interpreter

PREDICT = "tensorflow/serving/predict"

_TF_DTYPES = {dtype: number for number, dtype in NUMPY_DTYPES.items() if number != DT_STRING}


def read_signatures(make: Callable[[], Interpreter]) -> dict[str, Signature]:
    """The signatures of a file, by key; aliases sorted.

    Args:
        make: Makes an interpreter of it.

    Raises:
        ServingError: What ``make`` raises; INTERNAL: a tensor is of a type that TensorFlow does not have.
    """
    interpreter = make()
    signatures = {}
    for key, (inputs, outputs) in interpreter.details().items():
        signature = Signature(key, PREDICT, _specs(inputs), _specs(outputs))
        signatures[key] = _with_open_batch_axis(signature, make) if _is_for_one_example(signature) else signature
    return signatures


def signature_def(signature: Signature) -> Any:
    """The signature as TensorFlow's own message."""
    message = SignatureDef(method_name=signature.method_name)
    for infos, specs in ((message.inputs, signature.inputs), (message.outputs, signature.outputs)):
        for alias, spec in specs.items():
            infos[alias].name = spec.name
            infos[alias].dtype = spec.tf_dtype
            infos[alias].tensor_shape.SetInParent()
            for size in spec.shape or ():
                infos[alias].tensor_shape.dim.add(size=-1 if size is None else size)
    return message


def own_signature(
    wanted: Signature, outputs: tuple[str, ...], signatures: Mapping[str, Signature]
) -> tuple[Signature, tuple[str, ...], tuple[str, ...]]:
    """The signature of the file that computes what is wanted.

    Args:
        wanted: One of the file's, or one made of its tensors by MultiInference.
        outputs: The aliases wanted of it.
        signatures: Those of the file.

    Returns:
        The file's signature, and under its own aliases the inputs and outputs wanted, in the order given.

    Raises:
        ServingError: INVALID_ARGUMENT: that would take several; each is a graph of its own here.
    """
    if wanted.key in signatures:
        return signatures[wanted.key], tuple(wanted.inputs), outputs
    for own in signatures.values():
        inputs_by_name = {spec.name: alias for alias, spec in own.inputs.items()}
        outputs_by_name = {spec.name: alias for alias, spec in own.outputs.items()}
        fed = [inputs_by_name.get(spec.name) for spec in wanted.inputs.values()]
        fetched = [outputs_by_name.get(wanted.outputs[alias].name) for alias in outputs]
        known_fed = tuple(alias for alias in fed if alias is not None)
        known_fetched = tuple(alias for alias in fetched if alias is not None)
        if len(known_fed) == len(fed) == len(own.inputs) and len(known_fetched) == len(fetched):
            return own, known_fed, known_fetched
    raise ServingError(
        Code.INVALID_ARGUMENT, "The signatures of a TensorFlow Lite model cannot be run together; ask for each alone."
    )


def _specs(tensors: Mapping[str, Details]) -> dict[str, TensorSpec]:
    return {alias: _spec(details) for alias, details in sorted(tensors.items())}


def _spec(details: Details) -> TensorSpec:
    shape = tuple(None if size < 0 else int(size) for size in details["shape_signature"])
    if details["dtype"] is np.bytes_:
        return TensorSpec(np.dtype(object), DT_STRING, shape, details["name"])
    dtype = np.dtype(details["dtype"])
    if dtype not in _TF_DTYPES:
        raise ServingError(Code.INTERNAL, f"Unknown TfLite type: {dtype} of tensor {details['name']}")
    return TensorSpec(dtype, _TF_DTYPES[dtype], shape, details["name"])


def _is_for_one_example(signature: Signature) -> bool:
    """Whether the file fixes all first axes to 1, as older converters do."""
    shapes = [spec.shape or () for spec in (*signature.inputs.values(), *signature.outputs.values())]
    return bool(signature.inputs) and all(shape[:1] == (1,) and None not in shape for shape in shapes)


def _with_open_batch_axis(signature: Signature, make: Callable[[], Interpreter]) -> Signature:
    """The signature with its first axes open, if the model answers two examples with two rows.

    TensorFlow Serving resizes such models to whatever comes and lets the request fail where that cannot be done.
    """

    def two(spec: TensorSpec) -> Array:
        return np.full((2, *(spec.shape or ())[1:]), b"" if spec.tf_dtype == DT_STRING else 0, spec.dtype)

    def opened(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
        return {alias: replace(spec, shape=(None, *(spec.shape or ())[1:])) for alias, spec in specs.items()}

    try:
        answer = make().call(signature.key, {alias: two(spec) for alias, spec in signature.inputs.items()})
    except ServingError:
        return signature
    rows = opened(signature.outputs)
    if not all(array.shape[:1] == (2,) and rows[alias].admits(array.shape) for alias, array in answer.items()):
        return signature
    return replace(signature, inputs=opened(signature.inputs), outputs=rows)
