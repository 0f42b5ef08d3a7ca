"""Classify, Regress and MultiInference: tf.Examples in, classes and values out. What gRPC and REST both call.

Each function takes the official request message and returns the official response, or raises ServingError; rules and
messages are TensorFlow Serving's (``servables/tensorflow/classification_service.cc``, ``multi_inference.cc``).
"""

from __future__ import annotations

import time
from typing import Any

from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from service.modelserver.examples import CLASSIFY, INPUTS, METHODS, REGRESS, Array, ExampleMethod, serialized_examples
from service.modelserver.manager import ModelManager
from service.modelserver.model_spec import required_spec, resolved, servable_for
from service.modelserver.servable import Servable
from service.modelserver.signature import DEFAULT_SIGNATURE_KEY, Signature, TensorSpec, check_inputs
from service.modelserver.status import Code, ServingError


async def classify(manager: ModelManager, request: ClassificationRequest) -> ClassificationResponse:
    """Answer a ClassificationRequest.

    Raises:
        ServingError: NOT_FOUND for the model or version, INVALID_ARGUMENT for the signature or an empty input, or
            what running the model raised.
    """
    servable = servable_for(manager, required_spec(request))
    result = await _one_method(manager, servable, "Classify", CLASSIFY, request.model_spec, request.input)
    return ClassificationResponse(model_spec=resolved(request.model_spec, servable), result=result)


async def regress(manager: ModelManager, request: RegressionRequest) -> RegressionResponse:
    """Answer a RegressionRequest.

    Raises:
        ServingError: As :func:`classify`.
    """
    servable = servable_for(manager, required_spec(request))
    result = await _one_method(manager, servable, "Regress", REGRESS, request.model_spec, request.input)
    return RegressionResponse(model_spec=resolved(request.model_spec, servable), result=result)


async def multi_inference(manager: ModelManager, request: MultiInferenceRequest) -> MultiInferenceResponse:
    """Answer several classification and regression tasks on the same examples, with one run of the model.

    Raises:
        ServingError: INVALID_ARGUMENT: tasks of several models, a signature named twice or unknown, or signatures that
            do not share their input tensor; UNIMPLEMENTED: a task that is neither method; else as :func:`classify`.
    """
    spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
    servable = servable_for(manager, spec)
    signature, aliases = _merged(manager, servable, request)
    examples = serialized_examples(request.input)
    outputs = tuple(signature.outputs)
    arrays = await _run(manager, servable, "MultiInference", signature, examples, outputs)
    by_tensor = dict(zip(outputs, arrays, strict=True))
    response = MultiInferenceResponse()
    for task, tensors in zip(request.tasks, aliases, strict=True):
        method = METHODS[task.method_name]
        result = method.result_of({alias: by_tensor[name] for alias, name in tensors.items()}, len(examples))
        entry = response.results.add(model_spec=resolved(task.model_spec, servable))
        field = entry.classification_result if method is CLASSIFY else entry.regression_result
        field.CopyFrom(result)
    return response


async def _one_method(
    manager: ModelManager, servable: Servable, api: str, method: ExampleMethod, spec: ModelSpec, given: Input
) -> Any:
    key = spec.signature_name or DEFAULT_SIGNATURE_KEY
    if key not in servable.signatures:
        raise ServingError(Code.INVALID_ARGUMENT, f"No signature was found with the name: {key}")
    aliases = method.check(servable.signature_defs[key], method_name=manager.flags.enable_signature_method_name_check)
    examples = serialized_examples(given)
    arrays = await _run(manager, servable, api, servable.signatures[key], examples, aliases)
    return method.result_of(dict(zip(aliases, arrays, strict=True)), len(examples))


async def _run(
    manager: ModelManager,
    servable: Servable,
    api: str,
    signature: Signature,
    examples: Array,
    outputs: tuple[str, ...],
) -> list[Array]:
    check_inputs(signature, {INPUTS: examples})
    started = time.perf_counter()
    arrays = await servable.run(signature, {INPUTS: examples}, outputs)
    manager.metrics.runtime(servable.name, api, "TF1", time.perf_counter() - started)
    manager.metrics.examples(servable.name, len(examples))
    return arrays


def _merged(
    manager: ModelManager, servable: Servable, request: MultiInferenceRequest
) -> tuple[Signature, list[dict[str, str]]]:
    """One signature that computes what all tasks want.

    Returns:
        The signature, its outputs named by their tensors, and for each task ``{output alias: tensor name}``.
    """
    model = ""
    keys: dict[str, None] = {}
    inputs: dict[str, TensorSpec] = {}
    outputs: dict[str, TensorSpec] = {}
    aliases: list[dict[str, str]] = []
    for task in request.tasks:
        if not task.model_spec.name:
            raise ServingError(Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name.")
        if task.model_spec.name != (model := model or task.model_spec.name):
            raise ServingError(
                Code.INVALID_ARGUMENT, "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE_KEY
        if key in keys:
            raise ServingError(Code.INVALID_ARGUMENT, f"Duplicate evaluation of signature: {key}")
        keys[key] = None
        if key not in servable.signatures:
            raise ServingError(Code.INVALID_ARGUMENT, f"Requested signature not found in model graph: {key}")
        method = METHODS.get(task.method_name)
        if method is None:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        wanted = method.check(
            servable.signature_defs[key], method_name=manager.flags.enable_signature_method_name_check
        )
        signature = servable.signatures[key]
        tensor = signature.inputs[INPUTS]
        if inputs.setdefault(INPUTS, tensor).name != tensor.name:
            raise ServingError(Code.INVALID_ARGUMENT, "Input tensor must be the same for all Signatures.")
        aliases.append({alias: signature.outputs[alias].name for alias in wanted})
        outputs |= {signature.outputs[alias].name: signature.outputs[alias] for alias in wanted}
    # The key names a queue of its own: such requests share batches with their like alone. Sorted, so that the order of
    # the tasks makes no difference.
    key = "multi_inference:" + ",".join(sorted(keys))
    return Signature(key, "", inputs, dict(sorted(outputs.items()))), aliases
