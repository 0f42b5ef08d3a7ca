"""Clients that do not wait: the node counts those that left after the objective's bound as not served in time."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from service.domain.clock import SystemClock
from service.telemetry.scraper import Scraper
from tests.node.running_node import MODEL, RunningNode, running_node
from tests.support.eventually import eventually
from tests.support.modelserver import half_plus_two_request

Ask = Callable[[RunningNode, float], Awaitable[None]]


async def counts(node: RunningNode) -> Mapping[str, int]:
    return (await Scraper(node.metrics_url, MODEL, node.client, SystemClock()).read()).requests


async def over_grpc(node: RunningNode, patience: float) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Predict(half_plus_two_request(1.0), timeout=patience)


async def over_rest(node: RunningNode, patience: float) -> None:
    url = f"http://127.0.0.1:{node.rest_port}/v1/models/{MODEL}:predict"
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.TimeoutException):
            await client.post(url, json={"instances": [1.0]}, timeout=patience)


async def test_who_leaves_is_counted_by_when(tmp_path: Path) -> None:
    # The bound is far from both clients' patience.
    async with running_node(tmp_path, options=("--slo-p99-ms=1000",)) as node:
        [server] = await node.pids()
        asked: tuple[Ask, ...] = (over_grpc, over_rest)
        for ask in asked:
            for patience, code in ((0.2, "CANCELLED"), (2.0, "DEADLINE_EXCEEDED")):
                before = await counts(node)
                os.kill(server, signal.SIGSTOP)
                try:
                    await ask(node, patience)
                finally:
                    os.kill(server, signal.SIGCONT)
                await one_more(node, code, before)


async def one_more(node: RunningNode, code: str, before: Mapping[str, int]) -> None:
    async def counted() -> bool:
        return await counts(node) == {**before, code: before.get(code, 0) + 1}

    await eventually(counted, what=f"a request counted as {code}, after {before}")
