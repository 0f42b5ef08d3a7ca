"""Stopping: what was accepted is answered, and the process says how it ended."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import grpc
import pytest

from tests.support.modelserver import Clients, RunningServer, half_plus_two_request, model_server, output
from tests.support.processes import http_ok, wait_until

SLOW_BATCHES = "max_batch_size { value: 100 } batch_timeout_micros { value: 1500000 } num_batch_threads { value: 1 }"


@pytest.fixture
def slow_batches(tmp_path: Path) -> list[str]:
    file = tmp_path / "batching.pbtxt"
    file.write_text(SLOW_BATCHES)
    return ["--enable_batching", f"--batching_parameters_file={file}"]


def wait_for_requests(server: RunningServer, count: int) -> None:
    wait_until(lambda: server.gauge("regulus_modelserver_inflight_requests") == count, what=f"{count} in flight")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_that_wait_are_answered_before_the_server_ends(
    tmp_path: Path, slow_batches: list[str], number: signal.Signals
) -> None:
    with model_server(tmp_path, *slow_batches) as server, server.prediction() as stub:
        accepted = [stub.Predict.future(half_plus_two_request(float(n)), timeout=60) for n in range(6)]
        wait_for_requests(server, 6)
        server.process.send_signal(number)
        assert [output(future.result()) for future in accepted] == [[n / 2 + 2] for n in range(6)]
        assert server.process.wait(timeout=30) == 0
        assert not http_ok(f"http://127.0.0.1:{server.agent_port}/agent/v1/health")


def test_under_load_nothing_is_lost_but_what_came_too_late(tmp_path: Path) -> None:
    with model_server(tmp_path) as server, Clients(server.target) as clients:
        clients.wait_for_more(100)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 0
        wait_until(lambda: len(clients.failures) == 8, what="all clients refused")
        # Refused at the door, by gRPC itself: UNAVAILABLE without a connection, CANCELLED when the request crossed the
        # server's farewell on the wire. An answer of the server's own would have another code.
        assert {code for code, _ in clients.failures} <= {"UNAVAILABLE", "CANCELLED"}


def test_what_is_not_done_within_the_drain_time_out_is_cut_off(tmp_path: Path, slow_batches: list[str]) -> None:
    slow = Path(slow_batches[1].partition("=")[2])
    slow.write_text(SLOW_BATCHES.replace("1500000", "50000000"))
    with model_server(tmp_path, *slow_batches, "--drain_timeout_seconds=0.2") as server, server.prediction() as stub:
        held = stub.Predict.future(half_plus_two_request(1.0), timeout=60)
        wait_for_requests(server, 1)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError):
            held.result()
        assert server.process.wait(timeout=30) == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path, slow_batches: list[str]) -> None:
    slow = Path(slow_batches[1].partition("=")[2])
    slow.write_text(SLOW_BATCHES.replace("1500000", "50000000"))
    with model_server(tmp_path, *slow_batches) as server, server.prediction() as stub:
        held = stub.Predict.future(half_plus_two_request(1.0), timeout=60)
        wait_for_requests(server, 1)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=10) == 128 + signal.SIGTERM
        with pytest.raises(grpc.RpcError):
            held.result()


def test_requests_that_come_faster_than_they_are_taken_wait_and_are_answered(tmp_path: Path) -> None:
    with model_server(tmp_path) as server, server.prediction() as stub:
        stub.Predict(half_plus_two_request(1.0), timeout=60)
        request = half_plus_two_request(2.0)
        # It stands still, and so finds more of them at once than gRPC would let wait.
        server.process.send_signal(signal.SIGSTOP)
        try:
            sent = [stub.Predict.future(request, timeout=120) for _ in range(3000)]
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert {future.code() for future in sent} == {grpc.StatusCode.OK}
