"""What is said of clients that do not wait for their answer: too late for them, or gone for reasons of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest

from tests.support.eventually import eventually
from tests.support.modelserver import RunningServer, half_plus_two_request, model_server

#: A request alone waits for company for a minute.
WAITING = "max_batch_size { value: 2 } batch_timeout_micros { value: 60000000 } num_batch_threads { value: 1 }"
_COUNT = re.compile(r':tensorflow:serving:request_count\{.*status="(\w+)"\} (\d+)')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("deadlines")
    parameters = folder / "batching.pbtxt"
    parameters.write_text(WAITING)
    with model_server(folder, "--enable_batching", f"--batching_parameters_file={parameters}") as running:
        yield running


def counts(server: RunningServer) -> dict[str, int]:
    found: dict[str, int] = {}
    for status, number in _COUNT.findall(server.agent("/agent/v1/metrics")[1]):
        found[status] = found.get(status, 0) + int(number)
    return found


async def one_more(server: RunningServer, status: str, ask: Callable[[], object]) -> None:
    before = counts(server)
    ask()

    async def counted() -> bool:
        return counts(server) == {**before, status: before.get(status, 0) + 1}

    await eventually(counted, what=f"a request counted as {status}")


async def test_a_deadline_that_passed_is_the_servers_failure(server: RunningServer) -> None:
    def ask() -> None:
        with server.prediction() as stub, pytest.raises(grpc.RpcError) as raised:
            stub.Predict(half_plus_two_request(1.0), timeout=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await one_more(server, "DEADLINE_EXCEEDED", ask)


async def test_so_it_is_for_the_other_methods(server: RunningServer) -> None:
    request = ClassificationRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify_x_to_y"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1.0)

    def ask() -> None:
        with server.prediction() as stub, pytest.raises(grpc.RpcError) as raised:
            stub.Classify(request, timeout=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await one_more(server, "DEADLINE_EXCEEDED", ask)


async def test_a_client_that_left_before_its_deadline_had_its_reasons(server: RunningServer) -> None:
    async def arrived() -> bool:
        return server.gauge("regulus_modelserver_inflight_requests") == 1

    with server.prediction() as stub:
        asked = stub.Predict.future(half_plus_two_request(1.0), timeout=60)
        await eventually(arrived, what="the request")
        await one_more(server, "CANCELLED", asked.cancel)
