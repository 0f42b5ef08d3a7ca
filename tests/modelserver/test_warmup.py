"""Warm-up requests: read, turned into calls, and their failure failing the load."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from service.modelserver.session import ModelGraph
from service.modelserver.status import Code, ServingError
from service.modelserver.warmup import MAX_RECORDS, WARMUP_FILE, WarmupCall, read_warmup_requests, warmup_calls
from tests.support.half_plus_two import NAME, add_version, ask, model, new_manager, serving


def write(version: Path, logs: Sequence[bytes]) -> Path:
    file = version / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log)
    return file


def examples(*values: float) -> Input:
    given = Input()
    for value in values:
        given.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return given


def predict(values: Sequence[float], signature: str = "") -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(values, np.float32)))
    return log


def classify(signature: str = "classify_x_to_y") -> PredictionLog:
    log = PredictionLog()
    log.classify_log.request.input.CopyFrom(examples(1, 2))
    log.classify_log.request.model_spec.signature_name = signature
    return log


def regress(signature: str = "regress_x_to_y") -> PredictionLog:
    log = PredictionLog()
    log.regress_log.request.input.CopyFrom(examples(1))
    log.regress_log.request.model_spec.signature_name = signature
    return log


def multi(*wanted: tuple[str, str]) -> PredictionLog:
    log = PredictionLog()
    log.multi_inference_log.request.input.CopyFrom(examples(1, 2))
    for signature, method in wanted:
        task = log.multi_inference_log.request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.signature_name = signature
    return log


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return add_version(tmp_path / NAME, 1)


def calls_of(version: Path, log: PredictionLog) -> list[WarmupCall]:
    return warmup_calls(log, ModelGraph(version).signature_defs)


def refused(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as raised:
        call()
    return raised.value.code, raised.value.message


def test_a_version_without_the_file_has_no_requests(tmp_path: Path) -> None:
    assert read_warmup_requests(tmp_path) == []


def test_requests_are_read_in_order(version: Path) -> None:
    logs = [predict([1.0]), classify(), regress()]
    write(version, [log.SerializeToString() for log in logs])
    assert read_warmup_requests(version) == logs


def test_as_many_requests_as_allowed_are_read_and_one_more_is_refused(version: Path) -> None:
    write(version, [b""] * MAX_RECORDS)
    assert len(read_warmup_requests(version)) == MAX_RECORDS
    file = write(version, [b""] * (MAX_RECORDS + 1))
    assert refused(lambda: read_warmup_requests(version)) == (
        Code.INVALID_ARGUMENT,
        f"Number of warmup records exceeds the maximum (1000) at {file}",
    )


def test_a_record_that_is_no_request_is_refused(version: Path) -> None:
    write(version, [predict([1.0]).SerializeToString(), b"\xff\xff\xff"])
    code, message = refused(lambda: read_warmup_requests(version))
    assert code is Code.INVALID_ARGUMENT
    assert message.startswith("Failed to parse warmup record: number 2 from ")


def test_a_file_of_another_format_is_refused(version: Path) -> None:
    write(version, []).write_bytes(b"not a TFRecord file at all")
    code, message = refused(lambda: read_warmup_requests(version))
    assert code is Code.DATA_LOSS
    assert message.endswith("Please verify your warmup data is in TFRecord format.")


def test_a_damaged_record_is_noticed(version: Path) -> None:
    file = write(version, [predict([1.0, 2.0, 3.0]).SerializeToString()])
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    assert refused(lambda: read_warmup_requests(version))[0] is Code.DATA_LOSS


def test_a_predict_request_becomes_a_call(version: Path) -> None:
    (call,) = calls_of(version, predict([1.0, 2.0]))
    assert (call.signature, call.outputs) == ("serving_default", ())
    assert call.inputs["x"].tolist() == [1.0, 2.0]


def test_requests_with_examples_become_calls(version: Path) -> None:
    (one,) = calls_of(version, classify())
    assert (one.signature, one.outputs, one.inputs["inputs"].shape) == ("classify_x_to_y", ("scores",), (2,))
    (two,) = calls_of(version, regress())
    assert (two.signature, two.outputs, two.inputs["inputs"].shape) == ("regress_x_to_y", ("outputs",), (1,))


def test_a_multi_inference_request_becomes_a_call_for_each_task(version: Path) -> None:
    log = multi(("regress_x_to_y", "regress"), ("classify_x_to_y", "classify"))
    assert [(call.signature, call.outputs) for call in calls_of(version, log)] == [
        ("regress_x_to_y", ("outputs",)),
        ("classify_x_to_y", ("scores",)),
    ]


def test_a_log_without_a_request_is_nothing_to_run(version: Path) -> None:
    assert calls_of(version, PredictionLog()) == []


def test_requests_that_do_not_fit_the_model_are_refused(version: Path) -> None:
    session_run = PredictionLog()
    session_run.session_run_log.SetInParent()
    malformed = predict([1.0])
    malformed.predict_log.request.inputs["x"].tensor_shape.dim[0].size = 7
    malformed.predict_log.request.inputs["x"].tensor_content = b"123"
    for log, code, message in [
        (predict([1.0], "nothing"), Code.FAILED_PRECONDITION, 'Serving signature key "nothing" not found.'),
        (malformed, Code.INVALID_ARGUMENT, "tensor parsing error: x: "),
        (classify("nothing"), Code.INVALID_ARGUMENT, "No signature was found with the name: nothing"),
        (regress("serving_default"), Code.INVALID_ARGUMENT, "No regression inputs found in SignatureDef: "),
        (multi(("serving_default", "predict")), Code.UNIMPLEMENTED, "Unsupported signature method_name: "),
        (session_run, Code.UNIMPLEMENTED, "Unsupported log_type for warmup: 5"),
    ]:
        found_code, found = refused(functools.partial(calls_of, version, log))
        assert found_code is code
        assert found.startswith(message)


async def test_a_model_is_warmed_with_its_requests_before_it_serves(version: Path) -> None:
    logs = [predict([1.0]), classify(), regress(), multi(("regress_x_to_y", "regress"), ("regress_x_to_y2", "regress"))]
    write(version, [log.SerializeToString() for log in logs])
    async with serving([model(version.parent)]) as manager:
        page = manager.metrics.render()
        assert f'model_warmup_latency_count{{model_path="{version}",status="OK"}} 1' in page
        assert await ask(manager.servable(NAME), 2.0) == 3.0


async def test_a_request_that_fails_fails_the_load(version: Path) -> None:
    broken = regress()
    broken.regress_log.request.input.example_list.examples[0].Clear()
    write(version, [predict([1.0]).SerializeToString(), broken.SerializeToString()])
    manager = new_manager([model(version.parent)])
    with pytest.raises(ServingError, match="1 model\\(s\\) did not become available: "):
        await manager.start()
