"""Warm-up: the requests that a SavedModel brings along, and the calls they stand for.

A version may hold ``assets.extra/tf_serving_warmup_requests``, a TFRecord file of PredictionLog messages. Each is run
before the version becomes AVAILABLE, so that the first client does not pay for lazy initialisation; one that fails,
fails the load. Rules and messages are TensorFlow Serving's (``servables/tensorflow/saved_model_warmup_util.cc``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from service.modelserver.examples import (
    CLASSIFY,
    INPUTS,
    METHODS,
    REGRESS,
    Array,
    ExampleMethod,
    serialized_examples,
)
from service.modelserver.signature import DEFAULT_SIGNATURE_KEY
from service.modelserver.status import Code, ServingError
from service.modelserver.tensors import to_array

#: Where the requests lie inside a version's directory.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class WarmupCall:
    """One run of one signature.

    Attributes:
        signature: Key of the signature.
        inputs: Input alias → array.
        outputs: Output aliases to fetch; empty means all.
    """

    signature: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]


def read_warmup_requests(path: Path) -> list[PredictionLog]:
    """Read the warm-up requests of a model version. Blocks.

    Args:
        path: The version's directory.

    Returns:
        The records in the order of the file; none when the version has no such file.

    Raises:
        ServingError: INVALID_ARGUMENT for a record that is not a PredictionLog or more than :data:`MAX_RECORDS`;
            DATA_LOSS when the file is not in TFRecord format.
    """
    file = path / WARMUP_FILE
    if not file.is_file():
        return []
    logs: list[PredictionLog] = []
    for record in _records(file):
        if len(logs) == MAX_RECORDS:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
            )
        try:
            logs.append(PredictionLog.FromString(record))
        except DecodeError as error:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"Failed to parse warmup record: number {len(logs) + 1} from {file}: {error}"
            ) from error
    return logs


def warmup_calls(log: PredictionLog, signatures: Mapping[str, SignatureDef]) -> list[WarmupCall]:
    """The signature runs that a logged request stands for.

    Args:
        log: One record.
        signatures: The model's signatures by key.

    Returns:
        One call, for MultiInference one a task; none for a log without a request.

    Raises:
        ServingError: The request does not fit the model, or warm-up does not know its kind (UNIMPLEMENTED).
    """
    match log.WhichOneof("log_type"):
        case "predict_log":
            return [_predict_call(log.predict_log.request, signatures)]
        case "classify_log":
            request = log.classify_log.request
            return [_example_call(CLASSIFY, request.model_spec.signature_name, request.input, signatures)]
        case "regress_log":
            request = log.regress_log.request
            return [_example_call(REGRESS, request.model_spec.signature_name, request.input, signatures)]
        case "multi_inference_log":
            return _task_calls(log.multi_inference_log.request, signatures)
        case None:
            return []
        case kind:
            number = PredictionLog.DESCRIPTOR.fields_by_name[kind].number
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number} ({kind})")


def _predict_call(request: PredictRequest, signatures: Mapping[str, SignatureDef]) -> WarmupCall:
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE_KEY
    if key not in signatures:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    inputs = {alias: to_array(tensor, alias) for alias, tensor in request.inputs.items()}
    return WarmupCall(key, inputs, tuple(request.output_filter))


def _example_call(
    method: ExampleMethod, signature_name: str, given: Input, signatures: Mapping[str, SignatureDef]
) -> WarmupCall:
    key = signature_name or DEFAULT_SIGNATURE_KEY
    if key not in signatures:
        raise ServingError(Code.INVALID_ARGUMENT, f"No signature was found with the name: {key}")
    return WarmupCall(key, {INPUTS: serialized_examples(given)}, method.check(signatures[key]))


def _task_calls(request: MultiInferenceRequest, signatures: Mapping[str, SignatureDef]) -> list[WarmupCall]:
    calls = []
    for task in request.tasks:
        method = METHODS.get(task.method_name)
        if method is None:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        calls.append(_example_call(method, task.model_spec.signature_name, request.input, signatures))
    return calls


def _records(file: Path) -> Iterator[bytes]:
    """The payloads of a TFRecord file, their checksums verified.

    The iterator works with eager execution on or off and starts no threads, unlike a ``tf.data`` pipeline.
    """
    try:
        yield from tf.compat.v1.io.tf_record_iterator(str(file))
    except tf.errors.DataLossError as error:
        raise ServingError(
            Code.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from error
    except tf.errors.OpError as error:
        raise ServingError(Code(error.error_code), f"Could not read {file}: {error.message}") from error


def _without_iterator_notice(record: logging.LogRecord) -> bool:
    """Keeps TensorFlow's advice to use ``tf.data`` instead out of the server's log."""
    return "tf_record_iterator" not in record.getMessage()


tf.get_logger().addFilter(_without_iterator_notice)
