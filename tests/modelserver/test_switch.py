"""Changing every knob of a real server under load, through its agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from service.domain.serving_config import ServingConfig
from tests.support.modelserver import Clients, RunningServer, half_plus_two_request, model_server, output
from tests.support.processes import wait_until

INFLIGHT = "regulus_modelserver_inflight_requests"

BATCHED = ServingConfig(
    enable_batching=True, max_batch_size=8, num_batch_threads=2, max_enqueued_batches=100, batch_timeout_micros=500
)
#: One after another, each changes another knob; the last is where the server began.
CHANGES = [
    ("enable_batching", BATCHED),
    ("max_batch_size", BATCHED.with_values(max_batch_size=32)),
    ("allowed_batch_sizes", BATCHED.with_values(max_batch_size=32, allowed_batch_sizes=(8, 32))),
    ("batch_timeout_micros", BATCHED.with_values(batch_timeout_micros=0)),
    ("num_batch_threads", BATCHED.with_values(num_batch_threads=1)),
    ("max_enqueued_batches", BATCHED.with_values(max_enqueued_batches=50)),
    ("tensorflow_intra_op_parallelism", BATCHED.with_values(tensorflow_intra_op_parallelism=1)),
    ("tensorflow_inter_op_parallelism", BATCHED.with_values(tensorflow_inter_op_parallelism=2)),
    ("instances", BATCHED.with_values(instances=3)),
    ("instances", BATCHED.with_values(instances=1)),
    ("off with other threads", ServingConfig(tensorflow_intra_op_parallelism=2)),
    ("off", ServingConfig()),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with model_server(tmp_path_factory.mktemp("switch")) as running_server:
        yield running_server


def put(server: RunningServer, config: ServingConfig, **more: Any) -> tuple[int, dict[str, Any]]:
    generation = server.agent("/agent/v1/config")[1]["generation"] + 1
    return server.agent("/agent/v1/config", {"generation": generation, "config": config.to_dict(), **more})


def test_no_request_fails_while_every_knob_is_changed(server: RunningServer) -> None:
    with Clients(server.target) as clients:
        clients.wait_for_more()
        for knob, config in CHANGES:
            status, body = put(server, config)
            assert status == 200, (knob, body)
            assert body["config"] == config.to_dict(), knob
            clients.wait_for_more()
            assert clients.failures == [], knob
    assert server.gauge(INFLIGHT) == 0


def test_changes_in_quick_succession_lose_nothing_and_the_last_is_in_force(server: RunningServer) -> None:
    with Clients(server.target) as clients:
        for number in range(10):
            config = BATCHED.with_values(max_batch_size=1 + number, tensorflow_intra_op_parallelism=1 + number % 2)
            assert put(server, config)[0] == 200
        clients.wait_for_more()
    assert clients.failures == []
    assert server.agent("/agent/v1/config")[1]["config"] == config.to_dict()
    assert server.gauge("regulus_modelserver_generation") == server.agent("/agent/v1/config")[1]["generation"]


def test_a_change_that_takes_too_long_leaves_the_old_configuration_serving(server: RunningServer) -> None:
    before = server.agent("/agent/v1/config")[1]
    with Clients(server.target) as clients:
        other = BATCHED.with_values(tensorflow_intra_op_parallelism=5, instances=4)
        status, body = put(server, other, timeout_seconds=0.0001)
        assert status == 504
        assert body["current_generation"] == before["generation"]
        clients.wait_for_more()
        after = server.agent("/agent/v1/config")[1]
        assert (after["config"], after["generation"]) == (before["config"], before["generation"])
        assert put(server, other)[0] == 200
        clients.wait_for_more()
    assert clients.failures == []


def test_clients_that_give_up_leave_nothing_behind(server: RunningServer) -> None:
    assert put(server, BATCHED.with_values(batch_timeout_micros=50_000, max_enqueued_batches=3))[0] == 200
    with server.prediction() as stub:
        waiting = [stub.Predict.future(half_plus_two_request(1.0), timeout=20) for _ in range(20)]
        hurried = [stub.Predict.future(half_plus_two_request(1.0), timeout=0.001) for _ in range(200)]
        for future in waiting:
            future.cancel()
        # A millisecond can be enough for one whose batch filled at once; most have given up.
        gave_up = [future.code() is grpc.StatusCode.DEADLINE_EXCEEDED for future in hurried]
        assert sum(gave_up) > len(hurried) // 2
        wait_until(lambda: server.gauge(INFLIGHT) == 0, what="no request in flight")
        assert output(stub.Predict(half_plus_two_request(4.0), timeout=20)) == [4.0]


def test_a_full_queue_says_unavailable_and_the_limits_are_those_in_force(server: RunningServer) -> None:
    config = BATCHED.with_values(max_batch_size=2, max_enqueued_batches=1, batch_timeout_micros=60_000_000)
    assert put(server, config.with_values(num_batch_threads=1))[0] == 200
    with server.prediction() as stub:
        with pytest.raises(grpc.RpcError) as raised:
            stub.Predict(half_plus_two_request(1.0, 2.0, 3.0), timeout=20)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Task size 3 is larger than maximum input batch size 2" in raised.value.details()
        held = stub.Predict.future(half_plus_two_request(1.0), timeout=60)
        wait_until(lambda: server.gauge(INFLIGHT) == 1, what="the first request waits")
        with pytest.raises(grpc.RpcError) as raised:
            stub.Predict(half_plus_two_request(1.0, 2.0), timeout=20)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "currently 1 batches enqueued and max_enqueued_batches is 1" in raised.value.details()
        assert put(server, ServingConfig())[0] == 200
        assert output(held.result()) == [2.5]
