"""The agent API over a node whose changes can be held up; real processes answer it in test_node.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.backends.agent_backend import AgentBackend
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    StaleGenerationError,
)
from service.domain.serving_config import ServingConfig
from service.node.agent_api import MAX_BODY_BYTES, Agent
from service.node.errors import FrontError, HeadRoomError, StartError
from service.node.limits import knob_bounds
from service.node.state import ServerRecord

BATCHED = ServingConfig(enable_batching=True, max_batch_size=8, num_batch_threads=2)
SERVER = ServerRecord(pid=11, started_ticks=1, generation=0, grpc_port=21, rest_port=22, log="/log")


class HeldNode:
    """Takes a configuration when the gate is open, unless it is told to fail."""

    def __init__(self) -> None:
        self.config = ServingConfig()
        self.generation = 0
        self.bounds = knob_bounds(2, ServingConfig())
        self.switching = False
        self.serving: tuple[ServerRecord, ...] = (SERVER,)
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.config, self.generation = config, generation

    async def versions(self) -> list[int]:
        return [1]

    async def metrics(self) -> str:
        if isinstance(self.failure, FrontError):
            raise self.failure
        return "# TYPE x counter\n"


@pytest.fixture
def node() -> HeldNode:
    return HeldNode()


@pytest.fixture
async def client(node: HeldNode) -> AsyncIterator[httpx.AsyncClient]:
    agent = Agent(node, model="m", server=("tensorflow_model_server", "2.20"), cpus=2.0, memory_bytes=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(agent.app()), base_url="http://agent") as http:
        yield http


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    return document


async def put(client: httpx.AsyncClient, generation: Any, config: Any, **more: Any) -> httpx.Response:
    return await client.put("/agent/v1/config", json={"generation": generation, "config": config, **more})


async def test_the_control_services_backend_reads_and_changes_it(client: httpx.AsyncClient, node: HeldNode) -> None:
    backend = AgentBackend("http://agent", client)
    state = await backend.read()
    assert (state.server_kind, state.server_version, state.generation) == ("tensorflow_model_server", "2.20", 0)
    assert state.details["models"] == [{"name": "m", "versions": [1]}]
    assert state.details["processes"] == [{"pid": 11, "generation": 0, "grpc_port": 21, "rest_port": 22}]
    assert (await backend.apply(BATCHED, 7)).config == BATCHED
    assert node.generation == 7


@pytest.mark.parametrize(
    ("failure", "status", "raised"),
    [
        (StaleGenerationError(1, 3), 409, StaleGenerationError),
        (InfeasibleConfigError("num_batch_threads", "too many"), 422, InfeasibleConfigError),
        (HeadRoomError("needs 5 MiB"), 422, InfeasibleConfigError),
        (StartError("ended", "its last words"), 500, BackendUnavailableError),
        (TimeoutError(), 504, ApplyTimeoutError),
    ],
)
async def test_what_goes_wrong_is_told_as_the_embedded_server_tells_it(
    client: httpx.AsyncClient, node: HeldNode, failure: Exception, status: int, raised: type[Exception]
) -> None:
    node.failure = failure
    document = problem(await put(client, 1, BATCHED.to_dict()), status)
    with pytest.raises(raised):
        await AgentBackend("http://agent", client).apply(BATCHED, 1)
    if isinstance(failure, StartError):
        assert "its last words" in document["detail"]
    if isinstance(failure, HeadRoomError):
        assert document["errors"][0]["field"] == "config.instances"
        assert "5 MiB" in document["errors"][0]["message"]


async def test_a_change_that_takes_too_long_is_given_up(client: httpx.AsyncClient, node: HeldNode) -> None:
    node.gate.clear()
    document = problem(await put(client, 1, BATCHED.to_dict(), timeout_seconds=0.05), 504)
    assert "kept serving" in document["detail"]
    assert node.config == ServingConfig()


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        (b'{"generation": true, "config": {}}', 422, "generation"),
        (b'{"generation": 1, "config": []}', 422, "config"),
        (b'{"generation": 1, "config": {"nonsense": 1}}', 422, "config.nonsense"),
        (b'{"generation": 1, "config": {"instances": 0}}', 422, "config.instances"),
        (b'{"generation": 1, "config": {}, "timeout_seconds": 0}', 422, "timeout_seconds"),
        (b'{"generation": 1, "config": {}, "timeout_seconds": "soon"}', 422, "timeout_seconds"),
        (b'{"generation": 1, "config": {}, "when": 1}', 422, "when"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "bytes"),
    ],
)
async def test_a_wrong_order_is_refused_with_the_field(
    client: httpx.AsyncClient, body: bytes, status: int, named: str
) -> None:
    document = problem(await client.put("/agent/v1/config", content=body), status)
    assert named in document["detail"]


async def test_health_metrics_and_unknown_paths(client: httpx.AsyncClient, node: HeldNode) -> None:
    assert (await client.get("/agent/v1/health")).json() == {"status": "ok"}
    assert (await client.get("/agent/v1/metrics")).text == "# TYPE x counter\n"
    problem(await client.get("/agent/v2/config"), 404)
    problem(await client.post("/agent/v1/config"), 405)
    node.serving = ()
    problem(await client.get("/agent/v1/health"), 503)
    node.failure = FrontError("Envoy does not answer")
    problem(await client.get("/agent/v1/metrics"), 503)
