"""The closed loop keeps its clients busy, each with one request at a time."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.closed_loop import run_closed_loop
from service.loadgen.payloads import RequestSpec
from tests.support.echo_server import MODEL, echo_server
from tests.support.eventually import eventually

REQUEST = RequestSpec(model=MODEL)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
async def test_as_many_requests_are_in_flight_as_there_are_clients(protocol: str) -> None:
    async with echo_server() as server:
        url = server.grpc_url if protocol == "grpc" else server.rest_url
        server.gate.set()
        report = await run_closed_loop(url, REQUEST, concurrency=5, duration=0.3, warmup=0.1)

    assert server.most_in_service <= 5
    assert report.ok > 5
    assert report.failed == {}
    assert report.throughput == report.ok / 0.3
    assert report.latency.summary().count == report.ok


async def test_failures_are_counted_by_code_and_end_no_client() -> None:
    async with echo_server() as server:
        server.gate.set()
        server.refusal = grpc.StatusCode.RESOURCE_EXHAUSTED
        report = await run_closed_loop(server.grpc_url, REQUEST, concurrency=2, duration=0.2, warmup=0.0)

    assert report.ok == 0
    assert report.failed["RESOURCE_EXHAUSTED"] > 2


async def test_an_interrupted_run_asks_no_more_and_leaves_no_error_behind() -> None:
    async with echo_server() as server:
        server.gate.set()
        run = asyncio.ensure_future(run_closed_loop(server.grpc_url, REQUEST, concurrency=3, duration=60.0))

        async def asked_at_all() -> bool:
            return server.most_in_service > 0

        await eventually(asked_at_all, what="a first request")
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        asked = len(server.requests)
        # While another run asks, one that had not ended would ask thrice as much.
        other = await run_closed_loop(server.grpc_url, REQUEST, concurrency=1, duration=0.3, warmup=0.0)

    assert other.ok > 5
    assert len(server.requests) <= asked + 3 + other.ok + 1
    assert complaints == []


@pytest.mark.parametrize(("concurrency", "duration", "field"), [(0, 1.0, "concurrency"), (1, 0.0, "duration")])
async def test_a_run_that_makes_no_sense_is_refused(concurrency: int, duration: float, field: str) -> None:
    with pytest.raises(InvalidValueError, match=field):
        await run_closed_loop("grpc://127.0.0.1:1", REQUEST, concurrency=concurrency, duration=duration)
