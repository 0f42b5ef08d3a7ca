"""Predict through the official stubs against a real server process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.support.modelserver import (
    RunningServer,
    half_plus_two_request,
    model_server,
    output,
    predict_request,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with model_server(tmp_path_factory.mktemp("server"), "--enable_grpc_healthcheck_service") as running_server:
        yield running_server


@pytest.fixture
def stub(server: RunningServer) -> Iterator[Any]:
    with server.prediction() as prediction:
        yield prediction


def refusal(stub: Any, request: predict_pb2.PredictRequest) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request, timeout=20)
    return raised.value.code().name, raised.value.details()


def test_an_answer_names_the_version_and_the_signature_that_gave_it(stub: Any) -> None:
    response = stub.Predict(half_plus_two_request(1.0, 2.0, 5.0), timeout=20)
    assert output(response) == [2.5, 3.0, 4.5]
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_numbers_are_answered_in_typed_fields_as_tensorflow_serving_does(stub: Any) -> None:
    tensor = stub.Predict(half_plus_two_request(1.0, 2.0), timeout=20).outputs["y"]
    assert list(tensor.float_val) == [2.5, 3.0]
    assert tensor.tensor_content == b""


@pytest.mark.parametrize("form", ["content", "typed", "one value for all"])
def test_every_form_of_a_tensor_is_understood(stub: Any, form: str) -> None:
    request = half_plus_two_request(4.0, 4.0, 4.0)
    tensor = request.inputs["x"]
    tensor.ClearField("tensor_content")
    if form == "content":
        tensor.tensor_content = np.array([4, 4, 4], np.float32).tobytes()
    else:
        tensor.float_val.extend([4.0] * (3 if form == "typed" else 1))
    assert output(stub.Predict(request, timeout=20)) == [4.0, 4.0, 4.0]


def test_a_named_version_and_a_named_signature_are_used(stub: Any) -> None:
    request = predict_request(signature="regress_x2_to_y3", version=1, inputs=np.array([[2.0]], np.float32))
    assert output(stub.Predict(request, timeout=20), "outputs") == [[4.0]]


def test_strings_reach_the_model(stub: Any) -> None:
    example = tf.train.Example(
        features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[6.0]))})
    )
    request = predict_request(signature="regress_x_to_y", inputs=np.array([example.SerializeToString()], object))
    assert output(stub.Predict(request, timeout=20), "outputs") == [[5.0]]


def test_an_output_filter_selects(stub: Any) -> None:
    request = half_plus_two_request(1.0)
    request.output_filter.append("y")
    assert list(stub.Predict(request, timeout=20).outputs) == ["y"]


def changed(**changes: Any) -> predict_pb2.PredictRequest:
    request = half_plus_two_request(1.0)
    for name, value in changes.items():
        setattr(request.model_spec, name, value)
    return request


def without(field: str) -> predict_pb2.PredictRequest:
    request = half_plus_two_request(1.0)
    request.ClearField(field)
    return request


def with_version(number: int) -> predict_pb2.PredictRequest:
    request = half_plus_two_request(1.0)
    request.model_spec.version.value = number
    return request


def with_tensor(**changes: Any) -> predict_pb2.PredictRequest:
    request = half_plus_two_request(1.0)
    tensor = request.inputs["x"]
    for name, value in changes.items():
        if name == "shape":
            del tensor.tensor_shape.dim[:]
            for size in value:
                tensor.tensor_shape.dim.add().size = size
        else:
            setattr(tensor, name, value)
    return request


def filtered(*aliases: str) -> predict_pb2.PredictRequest:
    request = half_plus_two_request(1.0)
    request.output_filter.extend(aliases)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (without("model_spec"), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (changed(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (changed(name="nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (with_version(9), "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 9)"),
        (changed(signature_name="nope"), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            without("inputs"),
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            predict_request(z=[1.0]),
            "INVALID_ARGUMENT",
            "input tensor alias not found in signature: z. Inputs expected to be in the set {x}.",
        ),
        (filtered("z"), "INVALID_ARGUMENT", "output tensor alias not found in signature: z "),
        (filtered("y", "y"), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
        (predict_request(x=np.array([1], np.int32)), "INVALID_ARGUMENT", "Expects x to be float but int32 is provided"),
        (predict_request(x=[[1.0]]), "INVALID_ARGUMENT", "input x has shape [1,1], which does not fit"),
        (with_tensor(shape=[-1]), "INVALID_ARGUMENT", "tensor parsing error: x: its shape [-1] has a negative size"),
        (with_tensor(shape=[3], tensor_content=b"abc"), "INVALID_ARGUMENT", "tensor_content has 3 bytes where"),
        (with_tensor(dtype=0), "INVALID_ARGUMENT", "tensor parsing error: x: its type 0 is not supported"),
        (with_tensor(shape=[1 << 40]), "INVALID_ARGUMENT", "too many to repeat"),
    ],
)
def test_what_is_wrong_is_said_in_tensorflow_servings_words(
    stub: Any, request_: predict_pb2.PredictRequest, code: str, message: str
) -> None:
    got_code, got_message = refusal(stub, request_)
    assert got_code == code
    assert message in got_message
    assert output(stub.Predict(half_plus_two_request(1.0), timeout=20)) == [2.5]


def test_a_message_that_is_no_predict_request_is_refused(server: RunningServer) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"\xff\xff\xff", timeout=20)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "PredictRequest" in raised.value.details()


def test_an_unknown_method_is_unimplemented(server: RunningServer) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Nope")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_health_service_answers_when_it_is_enabled(server: RunningServer) -> None:
    with grpc.insecure_channel(server.target) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20) == b"\x08\x01"
