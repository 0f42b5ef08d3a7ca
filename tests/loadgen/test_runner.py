"""Whole runs against a real gRPC and REST server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.arrivals import Poisson, Regular, ScheduledArrivals
from service.loadgen.payloads import Encoding, RequestSpec
from service.loadgen.plan import LoadPlan
from service.loadgen.report import SecondStats
from service.loadgen.runner import run_load
from service.loadgen.schedules import constant, steps
from service.loadgen.target import TargetError
from service.loadgen.traces import Trace
from tests.support.echo_server import EchoServer, echo_server
from tests.support.processes import free_port

PROTOCOLS = ["grpc", "rest"]
ECHO = RequestSpec(model="echo")


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    async with echo_server() as running:
        yield running


def url(server: EchoServer, protocol: str) -> str:
    return server.grpc_url if protocol == "grpc" else server.rest_url


def at_rate(rate: float, duration: float, **options: Any) -> LoadPlan:
    # A shared machine may be slow: lag makes no run of these tests invalid unless the test says so.
    values = {"connections": 1, "max_lag": 60.0, **options}
    return LoadPlan(source=ScheduledArrivals(Regular(), constant(rate, duration)), **values)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_everything_planned_is_sent_answered_and_counted(server: EchoServer, protocol: str) -> None:
    seconds: list[SecondStats] = []
    source = ScheduledArrivals(Poisson(), steps([(0.6, 50), (0.6, 150)]))
    plan = LoadPlan(source=source, seed=3, slo_seconds=60.0, max_lag=60.0)
    planned = source.send_times(plan.arrivals_rng())
    report = await run_load(url(server, protocol), plan, ECHO, on_second=seconds.append)
    assert report.valid
    assert report.scheduled == report.sent == report.ok == len(planned) == report.latency.summary().count
    assert (report.failed, report.unanswered, report.slo_violation_ratio) == ({}, 0, 0.0)
    assert len(server.requests) == len(planned) + plan.connections  # The warm-up comes first.
    assert [phase.scheduled for phase in report.phases] == [sum(planned < 0.6), sum(planned >= 0.6)]
    assert tuple(seconds) == report.timeline
    assert sum(s.ok for s in seconds) == sum(s.sent for s in seconds) == len(planned)
    assert report.offered_rate == pytest.approx(len(planned) / 1.2)
    assert report.duration >= planned[-1]
    assert json.loads(json.dumps(report.to_dict()))["latency"]["p50"] > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stalled_server_cannot_hide_its_tail(server: EchoServer, protocol: str) -> None:
    """A closed loop would see one slow request of a hundred; the open loop sees all that fell due meanwhile."""
    run = asyncio.create_task(run_load(url(server, protocol), at_rate(50, 2.0), ECHO))
    await server.until_requests(20)
    await server.stall(1.0)
    report = await run
    latency = report.latency.summary()
    assert report.ok == 100
    # Whatever falls due during the stall waits for its end: up to a second, evenly spread.
    assert latency.p99 > 0.85
    assert latency.p90 > 0.6
    assert server.most_in_service > 20


async def test_a_late_generator_is_charged_to_the_latency_and_makes_the_run_invalid(server: EchoServer) -> None:
    def hog(_: SecondStats) -> None:
        time.sleep(0.5)

    report = await run_load(server.grpc_url, at_rate(100, 2.0, max_lag=0.01), ECHO, on_second=hog)
    assert not report.valid
    assert "the generator itself was late" in report.invalid_reasons[0]
    assert report.scheduled == report.ok == 200
    # Some fifty requests fell due while the generator slept.
    assert report.lag.summary().p90 > 0.1
    assert report.latency.summary().max >= report.lag.summary().max > 0.4


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_requests_beyond_the_limit_fail_instead_of_waiting(server: EchoServer, protocol: str) -> None:
    async def close_gate() -> None:
        await server.until_requests(1)
        server.gate.clear()

    closing = asyncio.create_task(close_gate())
    plan = at_rate(100, 0.5, max_inflight=5, timeout=1.0, slo_seconds=0.05)
    report = await run_load(url(server, protocol), plan, ECHO)
    await closing
    assert report.scheduled == 50
    assert report.failed["NOT_SENT"] >= 30
    assert report.failed["DEADLINE_EXCEEDED"] >= 4
    assert report.sent == report.scheduled - report.failed["NOT_SENT"]
    assert report.ok + report.failures == 50
    assert report.slo_violation_ratio is not None
    assert report.slo_violation_ratio >= report.failures / 50
    assert "in flight" in report.errors["NOT_SENT"]


@pytest.mark.parametrize(("protocol", "code"), [("grpc", "UNAVAILABLE"), ("rest", "HTTP_503")])
async def test_refusals_are_counted_by_code_with_the_first_message(
    server: EchoServer, protocol: str, code: str
) -> None:
    server.refusal = grpc.StatusCode.UNAVAILABLE
    report = await run_load(url(server, protocol), at_rate(50, 0.2), ECHO)
    assert report.failed == {code: 10}
    assert report.errors[code] == "refused by the test"
    assert report.latency.summary().count == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_wrong_model_or_signature_is_told_before_the_run(server: EchoServer, protocol: str) -> None:
    with pytest.raises(TargetError, match=r"does not serve model 'other'.*Servable not found"):
        await run_load(url(server, protocol), at_rate(10, 1), RequestSpec(model="other"))
    with pytest.raises(TargetError, match="no signature 'x'; it has serving_default, tokens"):
        await run_load(url(server, protocol), at_rate(10, 1), RequestSpec(model="echo", signature="x"))
    assert server.requests == []


async def test_a_request_that_the_server_refuses_is_told_before_the_run(server: EchoServer) -> None:
    server.refusal = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(TargetError, match="refuses a first request: INVALID_ARGUMENT: refused by the test"):
        await run_load(server.grpc_url, at_rate(10, 1), ECHO)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_an_unreachable_server_is_told(scheme: str) -> None:
    with pytest.raises(TargetError, match=r"no .* server answers at"):
        await run_load(f"{scheme}://127.0.0.1:{free_port()}", at_rate(10, 1), ECHO)


@pytest.mark.parametrize(("protocol", "encoding"), [("grpc", Encoding.ROW), ("rest", Encoding.TYPED)])
async def test_an_encoding_of_the_other_protocol_is_refused(
    server: EchoServer, protocol: str, encoding: Encoding
) -> None:
    with pytest.raises(InvalidValueError, match="payload"):
        await run_load(url(server, protocol), at_rate(10, 1), RequestSpec(model="echo", encoding=encoding))


@pytest.mark.parametrize("encoding", [None, Encoding.TYPED, Encoding.ROW, Encoding.COLUMNAR])
async def test_other_signatures_and_encodings_are_served(server: EchoServer, encoding: Encoding | None) -> None:
    protocol = "rest" if encoding in (Encoding.ROW, Encoding.COLUMNAR) else "grpc"
    request = RequestSpec(model="echo", signature="tokens", batch=3, dims={"ids": (7,)}, encoding=encoding)
    report = await run_load(url(server, protocol), at_rate(50, 0.1), request)
    assert report.ok == report.scheduled == 5


async def test_the_same_seed_sends_the_same_requests(server: EchoServer) -> None:
    await run_load(server.grpc_url, at_rate(100, 0.2, seed=5), ECHO)
    first, server.requests = server.requests, []
    await run_load(server.grpc_url, at_rate(100, 0.2, seed=5), ECHO)
    assert sorted(server.requests) == sorted(first)
    assert len(set(first)) == ECHO.pool_size


async def test_a_trace_is_sent_as_it_was_recorded(server: EchoServer) -> None:
    trace = Trace(np.array([0.0, 0.01, 0.02, 0.4]), 0.5)
    report = await run_load(server.grpc_url, LoadPlan(source=trace, max_lag=60.0), ECHO)
    assert report.ok == 4
    assert report.offered_rate == pytest.approx(8)
    assert report.duration >= 0.4


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stopped_run_reports_what_was_done(server: EchoServer, protocol: str) -> None:
    stop = asyncio.Event()
    run = asyncio.create_task(run_load(url(server, protocol), at_rate(100, 60, connections=1), ECHO, stop=stop))
    await server.until_requests(20)
    server.gate.clear()
    await server.until_requests(len(server.requests) + 1)
    stop.set()
    report = await run
    assert report.interrupted
    assert report.unanswered >= 1
    assert report.ok >= 15
    assert report.scheduled == report.sent == report.ok + report.unanswered
    assert report.failed == {}


async def test_an_error_in_the_callback_ends_the_run(server: EchoServer) -> None:
    def broken(_: SecondStats) -> None:
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError):
        await run_load(server.grpc_url, at_rate(20, 30), ECHO, on_second=broken)


async def test_a_plan_that_sends_nothing_is_refused() -> None:
    plan = LoadPlan(source=ScheduledArrivals(Poisson(), constant(1e-6, 1.0)))
    with pytest.raises(InvalidValueError, match="raise the rate"):
        await run_load("grpc://127.0.0.1:1", plan, ECHO)


async def test_a_remote_target_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="--allow-remote"):
        await run_load("grpc://192.0.2.1:8500", at_rate(10, 1), ECHO)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"timeout": 0.0},
        {"max_inflight": 0},
        {"connections": 0},
        {"slo_seconds": 0.0},
        {"max_lag": -1.0},
        {"max_lag_ratio": float("nan")},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(options)).split("_")[0]):
        at_rate(10, 1, **options)
