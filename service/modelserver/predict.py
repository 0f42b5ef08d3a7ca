"""Predict: named arrays in, named arrays out, for any signature of any model. The hot path of the server.

Rules and messages are TensorFlow Serving's (``servables/tensorflow/predict_util.cc``).
"""

from __future__ import annotations

import time

from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from service.modelserver.manager import ModelManager
from service.modelserver.model_spec import required_spec, servable_for
from service.modelserver.signature import check_inputs
from service.modelserver.tensors import fill, to_array


async def predict(manager: ModelManager, request: PredictRequest) -> PredictResponse:
    """Answer a PredictRequest.

    Raises:
        ServingError: NOT_FOUND for the model or version, FAILED_PRECONDITION for the signature, INVALID_ARGUMENT for
            the tensors, UNAVAILABLE for a full queue, or what running the model raised.
    """
    spec = required_spec(request)
    servable = servable_for(manager, spec)
    signature = servable.signature(spec.signature_name)
    inputs = {alias: to_array(tensor, alias) for alias, tensor in request.inputs.items()}
    outputs = check_inputs(signature, inputs, request.output_filter)
    started = time.perf_counter()
    arrays = await servable.run(signature, inputs, outputs)
    manager.metrics.runtime(servable.name, "Predict", "TF1", time.perf_counter() - started)
    response = PredictResponse()
    answered = response.model_spec
    answered.name = spec.name
    answered.version.value = servable.version
    answered.signature_name = signature.key
    as_content = manager.flags.enable_serialization_as_tensor_content
    for alias, array in zip(outputs, arrays, strict=True):
        fill(response.outputs[alias], array, signature.outputs[alias].tf_dtype, as_content=as_content)
    return response
