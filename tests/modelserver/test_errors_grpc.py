"""Conformance over gRPC, official stubs against a real process: the table of errors, and versions that come and go.

What is particular to Predict's tensors is in ``test_grpc_predict.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from tests.support.half_plus_two import add_version, remove_version
from tests.support.modelserver import (
    HALF_PLUS_TWO,
    RunningServer,
    half_plus_two_request,
    model_server,
    output,
    predict_request,
)
from tests.support.processes import wait_until

TIMEOUT = 20.0
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with TensorFlow Serving's defaults."""
    with model_server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that waits long for a full batch of four, and lets no second one queue up."""
    folder = tmp_path_factory.mktemp("batching")
    parameters = folder / "batching.pbtxt"
    parameters.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 20000000 } "
        "num_batch_threads { value: 1 } max_enqueued_batches { value: 1 }"
    )
    with model_server(folder, "--enable_batching", f"--batching_parameters_file={parameters}") as started:
        yield started


def refusal(call: Any, request: Any) -> tuple[str, str]:
    """Status and message of a call that must not succeed."""
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=TIMEOUT)
    return raised.value.code().name, str(raised.value.details())


def examples(*values: float) -> Input:
    given = Input()
    for value in values:
        given.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return given


def named(request: Any, name: str = HALF_PLUS_TWO, **spec: Any) -> Any:
    """The request, with a model_spec."""
    request.model_spec.name = name
    for field, value in spec.items():
        if field == "version":
            request.model_spec.version.value = value
        else:
            setattr(request.model_spec, field, value)
    request.model_spec.SetInParent()
    return request


def tasks(*wanted: tuple[str, str]) -> MultiInferenceRequest:
    request = MultiInferenceRequest(input=examples(2))
    for signature, method in wanted:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = HALF_PLUS_TWO
        task.model_spec.signature_name = signature
    return request


def metadata(*fields: str) -> GetModelMetadataRequest:
    return GetModelMetadataRequest(metadata_field=fields)


SPECIFIED = [
    ("Predict", PredictRequest),
    ("Classify", ClassificationRequest),
    ("Regress", RegressionRequest),
    ("GetModelMetadata", lambda: metadata("signature_def")),
]


@pytest.mark.parametrize(("method", "empty"), SPECIFIED, ids=lambda value: value if isinstance(value, str) else "")
def test_every_method_needs_a_model_that_is_served(server: RunningServer, method: str, empty: Any) -> None:
    with server.prediction() as stub:
        call = getattr(stub, method)
        assert refusal(call, empty()) == ("INVALID_ARGUMENT", "Missing ModelSpec")
        assert refusal(call, named(empty(), "")) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        assert refusal(call, named(empty(), "x")) == ("NOT_FOUND", "Servable not found for request: Latest(x)")
        assert refusal(call, named(empty(), version=7)) == (
            "NOT_FOUND",
            "Servable not found for request: Specific(half_plus_two, 7)",
        )
        assert refusal(call, named(empty(), version_label="beta")) == (
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: beta",
        )


def test_an_unknown_signature_has_the_code_of_its_method(server: RunningServer) -> None:
    with server.prediction() as stub:
        assert refusal(stub.Predict, predict_request(signature="nope", x=[1.0])) == (
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found.',
        )
        message = "No signature was found with the name: nope"
        classification = named(ClassificationRequest(input=examples(1)), signature_name="nope")
        assert refusal(stub.Classify, classification) == ("INVALID_ARGUMENT", message)
        regression = named(RegressionRequest(input=examples(1)), signature_name="nope")
        assert refusal(stub.Regress, regression) == ("INVALID_ARGUMENT", message)
        assert refusal(stub.MultiInference, tasks(("nope", REGRESS))) == (
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: nope",
        )


def test_wrong_inputs_are_listed(server: RunningServer) -> None:
    with server.prediction() as stub:
        assert refusal(stub.Predict, predict_request(x=[1.0], z=[1.0])) == (
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
            "Sent extra: {z}. Missing but required: {}.",
        )


def test_tensors_that_do_not_fit_are_refused_and_the_server_goes_on(server: RunningServer) -> None:
    truncated = half_plus_two_request(1.0, 2.0)
    truncated.inputs["x"].ClearField("float_val")
    truncated.inputs["x"].tensor_content = b"\x00\x00"
    with server.prediction() as stub:
        for request, fragment in [
            (truncated, "tensor parsing error: x: "),
            (predict_request(x=np.array([1], np.int64)), "Expects x to be float but int64 is provided"),
            (predict_request(x=np.array([b"1"], object)), "Expects x to be float but string is provided"),
            (predict_request(x=[[1.0, 2.0]]), "input x has shape [1,2]"),
        ]:
            code, message = refusal(stub.Predict, request)
            assert code == "INVALID_ARGUMENT"
            assert fragment in message
        assert output(stub.Predict(half_plus_two_request(2.0), timeout=TIMEOUT)) == [3.0]


@pytest.mark.parametrize(
    ("method", "request_", "code", "message"),
    [
        (
            "Classify",
            named(ClassificationRequest(), signature_name="classify_x_to_y"),
            "INVALID_ARGUMENT",
            "Input is empty.",
        ),
        (
            "Classify",
            named(ClassificationRequest(input=examples(1)), signature_name="classify_x2_to_y3"),
            "INVALID_ARGUMENT",
            "Expects inputs to be float but string is provided",
        ),
        ("Regress", named(RegressionRequest(), signature_name="regress_x_to_y"), "INVALID_ARGUMENT", "Input is empty."),
        ("MultiInference", MultiInferenceRequest(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            "MultiInference",
            tasks(("regress_x_to_y", REGRESS), ("regress_x_to_y", REGRESS)),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            "MultiInference",
            tasks(("serving_default", "tensorflow/serving/predict")),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            "MultiInference",
            tasks(("regress_x_to_y", REGRESS), ("regress_x2_to_y3", REGRESS)),
            "INVALID_ARGUMENT",
            "Input tensor must be the same for all Signatures.",
        ),
        (
            "GetModelMetadata",
            named(metadata()),
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            "GetModelMetadata",
            named(metadata("graph_def")),
            "INVALID_ARGUMENT",
            "Metadata field graph_def is not supported",
        ),
    ],
)
def test_what_is_wrong_with_examples_tasks_and_fields_is_said(
    server: RunningServer, method: str, request_: Any, code: str, message: str
) -> None:
    with server.prediction() as stub:
        assert refusal(getattr(stub, method), request_) == (code, message)


def test_a_signature_that_cannot_do_it_is_shown(server: RunningServer) -> None:
    with server.prediction() as stub:
        code, message = refusal(stub.Classify, named(ClassificationRequest(input=examples(1))))
        assert code == "INVALID_ARGUMENT"
        assert message.startswith('No classification inputs found in SignatureDef: inputs {\n  key: "x"')


def test_messages_are_cut_at_1024_characters(server: RunningServer) -> None:
    with server.prediction() as stub:
        code, message = refusal(stub.Predict, named(PredictRequest(), "x" * 5000))
        assert code == "NOT_FOUND"
        assert message == ("Servable not found for request: Latest(" + "x" * 5000)[:1024]


def test_the_status_of_what_is_unknown_is_not_found(server: RunningServer) -> None:
    with server.model_service() as stub:
        assert refusal(stub.GetModelStatus, GetModelStatusRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")
        assert refusal(stub.GetModelStatus, named(GetModelStatusRequest(), "x")) == (
            "NOT_FOUND",
            "Could not find any versions of model x",
        )
        assert refusal(stub.GetModelStatus, named(GetModelStatusRequest(), version=9)) == (
            "NOT_FOUND",
            "Could not find version 9 of model half_plus_two",
        )


def test_a_model_list_that_is_invalid_leaves_the_old_one_in_force(server: RunningServer) -> None:
    entry = 'config { name: "m" base_path: "/nowhere" model_platform: "tensorflow" }'
    with server.model_service() as stub:
        for text, message in [
            ("", "ServerModelConfig type not supported by HandleReloadConfigRequest."),
            (f"model_config_list {{ {entry} {entry} }}", "Illegal to list model m multiple times in config list"),
            (f"model_config_list {{ {entry} }}", "Could not find base path /nowhere for servable m with error"),
        ]:
            request = text_format.Parse(f"config {{ {text} }}", ReloadConfigRequest())
            code, found = refusal(stub.HandleReloadConfigRequest, request)
            assert code == "INVALID_ARGUMENT"
            assert found.startswith(message)
    with server.prediction() as stub:
        assert output(stub.Predict(half_plus_two_request(2.0), timeout=TIMEOUT)) == [3.0]


def test_the_other_methods_answer(server: RunningServer) -> None:
    with server.prediction() as stub:
        classification = named(ClassificationRequest(input=examples(2, 4)), signature_name="classify_x_to_y")
        answer = stub.Classify(classification, timeout=TIMEOUT)
        assert [[one.score for one in row.classes] for row in answer.result.classifications] == [[3.0], [4.0]]
        assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (1, "classify_x_to_y")
        regression = named(RegressionRequest(input=examples(2, 4)), signature_name="regress_x_to_y")
        answer = stub.Regress(regression, timeout=TIMEOUT)
        assert [one.value for one in answer.result.regressions] == [3.0, 4.0]
        several = tasks(("regress_x_to_y2", REGRESS), ("classify_x_to_y", CLASSIFY))
        first, second = stub.MultiInference(several, timeout=TIMEOUT).results
        assert first.regression_result.regressions[0].value == 4.0
        assert second.classification_result.classifications[0].classes[0].score == 3.0
        signatures = SignatureDefMap()
        answer = stub.GetModelMetadata(named(metadata("signature_def")), timeout=TIMEOUT)
        assert answer.metadata["signature_def"].Unpack(signatures)
        assert "serving_default" in signatures.signature_def
    with server.model_service() as stub:
        (status,) = stub.GetModelStatus(named(GetModelStatusRequest(), version=1), timeout=TIMEOUT).model_version_status
        assert (status.version, status.state, status.status.error_code) == (1, status.AVAILABLE, 0)


def test_a_request_larger_than_a_batch_is_refused(batching: RunningServer) -> None:
    with batching.prediction() as stub:
        message = "Task size 5 is larger than maximum input batch size 4"
        assert refusal(stub.Predict, half_plus_two_request(1, 2, 3, 4, 5)) == ("INVALID_ARGUMENT", message)
        classification = named(ClassificationRequest(input=examples(1, 2, 3, 4, 5)), signature_name="classify_x_to_y")
        assert refusal(stub.Classify, classification) == ("INVALID_ARGUMENT", message)
        assert output(stub.Predict(half_plus_two_request(1, 2, 3, 4), timeout=TIMEOUT)) == [2.5, 3.0, 3.5, 4.0]


def test_a_full_queue_refuses_at_once_and_loses_nothing(batching: RunningServer) -> None:
    with batching.prediction() as stub:
        waiting = stub.Predict.future(half_plus_two_request(1, 2, 3), timeout=TIMEOUT)
        wait_until(lambda: in_flight(batching) == 1, what="the first request queued")
        code, message = refusal(stub.Predict, half_plus_two_request(4, 5))
        assert code == "UNAVAILABLE"
        assert message == (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 1 batches enqueued and max_enqueued_batches is 1"
        )
        assert not waiting.done()
        assert output(stub.Predict(half_plus_two_request(6), timeout=TIMEOUT)) == [5.0]
        assert output(waiting.result(timeout=TIMEOUT)) == [2.5, 3.0, 3.5]


def in_flight(server: RunningServer) -> float:
    """Requests that the server has taken and not answered."""
    _, page = server.agent("/agent/v1/metrics")
    (line,) = [
        line
        for line in page.splitlines()
        if line.startswith("regulus_modelserver_inflight_requests") and "#" not in line
    ]
    return float(line.split()[-1])


def test_versions_come_and_go_under_load_without_a_failed_request(server: RunningServer) -> None:
    seen: list[int] = []
    failures: list[grpc.RpcError] = []
    over = threading.Event()

    def client() -> None:
        with server.prediction() as stub:
            while not over.is_set():
                try:
                    answer = stub.Predict(half_plus_two_request(2.0), timeout=TIMEOUT)
                except grpc.RpcError as error:
                    failures.append(error)
                    return
                seen.append(answer.model_spec.version.value)

    def states() -> dict[int, int]:
        with server.model_service() as stub:
            answer = stub.GetModelStatus(named(GetModelStatusRequest()), timeout=TIMEOUT)
        return {entry.version: entry.state for entry in answer.model_version_status}

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        wait_until(lambda: seen.count(1) > 20, what="answers of version 1")
        add_version(server.base_path, 2)
        wait_until(lambda: states() == {2: 30, 1: 50}, what="version 2 AVAILABLE, 1 at its END")
        seen.clear()
        wait_until(lambda: len(seen) > 20, what="answers of version 2")
        assert set(seen[10:]) == {2}
        remove_version(server.base_path, 2)
        wait_until(lambda: states() == {2: 50, 1: 30}, what="version 1 AVAILABLE again, 2 at its END")
        seen.clear()
        wait_until(lambda: len(seen) > 20, what="answers of version 1 again")
        assert set(seen[10:]) == {1}
    finally:
        over.set()
        for thread in clients:
            thread.join(TIMEOUT)
    assert failures == []
