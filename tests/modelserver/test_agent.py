"""The agent API over a node whose changes can be held up; a real server answers it in test_switch.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.backends.agent_backend import AgentBackend
from service.domain.errors import ApplyTimeoutError, InfeasibleConfigError, StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.modelserver.agent import MAX_BODY_BYTES, Agent
from service.modelserver.status import Code, ServingError
from tests.support.half_plus_two import eventually

BATCHED = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=500)


class HeldNode:
    """Takes a configuration when the gate is open."""

    def __init__(self) -> None:
        self.config = ServingConfig()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: ServingError | None = None
        self.taken: list[ServingConfig] = []

    async def reconfigure(self, config: ServingConfig) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.config = config
        self.taken.append(config)


@pytest.fixture
def node() -> HeldNode:
    return HeldNode()


@pytest.fixture
def generations() -> list[int]:
    return []


@pytest.fixture
async def client(node: HeldNode, generations: list[int]) -> AsyncIterator[httpx.AsyncClient]:
    agent = Agent(
        node,
        cpus=1.5,
        memory_bytes=1 << 30,
        on_generation=generations.append,
        models=lambda: [{"name": "m", "versions": [1]}],
        render_metrics=lambda: "# TYPE x counter\n",
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(agent.app()), base_url="http://agent") as http:
        yield http


async def put(client: httpx.AsyncClient, generation: Any, config: Any, **more: Any) -> httpx.Response:
    raw = config.to_dict() if isinstance(config, ServingConfig) else config
    return await client.put("/agent/v1/config", json={"generation": generation, "config": raw, **more})


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


async def test_the_configuration_in_force_is_told_with_what_the_node_can_do(client: httpx.AsyncClient) -> None:
    body = (await client.get("/agent/v1/config")).json()
    assert body["config"] == ServingConfig().to_dict()
    assert body["generation"] == 0
    assert body["state"] == "serving"
    assert body["support"]["cpus"] == 1.5
    assert body["support"]["memory_bytes"] == 1 << 30
    assert body["support"]["knobs"]["num_batch_threads"] == {"min": 1, "max": 256}
    assert body["server"]["kind"] == "regulus-embedded"
    assert body["models"] == [{"name": "m", "versions": [1]}]


async def test_a_newer_generation_is_put_in_force(
    client: httpx.AsyncClient, node: HeldNode, generations: list[int]
) -> None:
    response = await put(client, 3, BATCHED)
    assert response.status_code == 200
    assert response.json()["config"] == BATCHED.to_dict()
    assert response.json()["generation"] == 3
    assert node.config == BATCHED
    assert generations == [0, 3]


async def test_missing_fields_take_tensorflow_servings_defaults(client: httpx.AsyncClient, node: HeldNode) -> None:
    await put(client, 1, BATCHED.with_values(instances=2))
    assert (await put(client, 2, {"enable_batching": True})).status_code == 200
    assert node.config == ServingConfig(enable_batching=True)


async def test_the_same_again_is_answered_and_not_done_again(client: httpx.AsyncClient, node: HeldNode) -> None:
    await put(client, 1, BATCHED)
    assert (await put(client, 1, BATCHED)).status_code == 200
    assert node.taken == [BATCHED]


@pytest.mark.parametrize(("generation", "config"), [(2, ServingConfig()), (1, BATCHED), (0, BATCHED)])
async def test_an_older_generation_or_the_same_with_another_configuration_is_stale(
    client: httpx.AsyncClient, node: HeldNode, generation: int, config: ServingConfig
) -> None:
    await put(client, 2, BATCHED)
    assert problem(await put(client, generation, config), 409)["current_generation"] == 2
    assert node.config == BATCHED


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"generation": 1, "config": {"max_batch_sise": 3}}, "config.max_batch_sise"),
        ({"generation": 1, "config": {"enable_batching": True, "max_batch_size": "3"}}, "config.max_batch_size"),
        ({"generation": 1, "config": {"enable_batching": True, "max_batch_size": 0}}, "config.max_batch_size"),
        ({"generation": 1, "config": {"enable_batching": 1}}, "config.enable_batching"),
        ({"generation": 1, "config": {"instances": 17}}, "config.instances"),
        (
            {"generation": 1, "config": {"enable_batching": True, "max_batch_size": 8, "allowed_batch_sizes": [4]}},
            "config.allowed_batch_sizes",
        ),
        ({"generation": 1, "config": [1]}, "config"),
        ({"generation": 1}, "config"),
        ({"config": {}}, "generation"),
        ({"generation": True, "config": {}}, "generation"),
        ({"generation": -1, "config": {}}, "generation"),
        ({"generation": 1.5, "config": {}}, "generation"),
        ({"generation": 1, "config": {}, "timeout_seconds": 0}, "timeout_seconds"),
        ({"generation": 1, "config": {}, "timeout_seconds": "soon"}, "timeout_seconds"),
        ({"generation": 1, "config": {}, "timeout": 1}, "timeout"),
    ],
)
async def test_what_is_not_allowed_is_refused_and_the_field_named(
    client: httpx.AsyncClient, node: HeldNode, order: dict[str, Any], field: str
) -> None:
    document = problem(await client.put("/agent/v1/config", json=order), 422)
    assert [error["field"] for error in document["errors"]] == [field]
    assert document["errors"][0]["message"]
    assert node.taken == []


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"NaN"])
async def test_what_is_not_json_is_a_bad_request(client: httpx.AsyncClient, body: bytes) -> None:
    problem(await client.put("/agent/v1/config", content=body), 400)


async def test_a_body_without_end_is_cut_off(client: httpx.AsyncClient) -> None:
    problem(await client.put("/agent/v1/config", content=b" " * (MAX_BODY_BYTES + 1)), 413)


async def test_what_is_not_ready_in_time_leaves_the_old_configuration_and_generation(
    client: httpx.AsyncClient, node: HeldNode
) -> None:
    node.gate.clear()
    document = problem(await put(client, 1, BATCHED, timeout_seconds=0.05), 504)
    assert document["current_generation"] == 0
    assert node.config == ServingConfig()
    node.gate.set()
    assert (await put(client, 1, BATCHED)).status_code == 200


async def test_while_it_switches_it_says_so_and_the_next_change_waits_its_turn(
    client: httpx.AsyncClient, node: HeldNode
) -> None:
    node.gate.clear()
    first = asyncio.ensure_future(put(client, 1, BATCHED))
    await asyncio.sleep(0.01)
    assert (await client.get("/agent/v1/config")).json()["state"] == "switching"
    second = asyncio.ensure_future(put(client, 2, BATCHED.with_values(instances=2)))
    too_impatient = await put(client, 3, BATCHED, timeout_seconds=0.02)
    assert too_impatient.status_code == 504
    node.gate.set()
    assert (await first).status_code == (await second).status_code == 200
    assert node.taken == [BATCHED, BATCHED.with_values(instances=2)]
    assert (await client.get("/agent/v1/config")).json()["state"] == "serving"


async def test_a_change_that_fails_says_why_and_changes_nothing(client: httpx.AsyncClient, node: HeldNode) -> None:
    node.failure = ServingError(Code.RESOURCE_EXHAUSTED, "no memory left")
    document = problem(await put(client, 1, BATCHED), 500)
    assert "no memory left" in document["detail"]
    body = (await client.get("/agent/v1/config")).json()
    assert (body["generation"], body["state"]) == (0, "serving")


async def test_health_and_metrics_are_answered(client: httpx.AsyncClient) -> None:
    assert (await client.get("/agent/v1/health")).json() == {"status": "ok"}
    metrics = await client.get("/agent/v1/metrics")
    assert metrics.text == "# TYPE x counter\n"
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/agent/v1/nope", 404), ("POST", "/agent/v1/config", 405)]
)
async def test_unknown_places_and_methods_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    problem(await client.request(method, path), status)


async def test_the_control_services_own_client_understands_every_answer(
    client: httpx.AsyncClient, node: HeldNode
) -> None:
    backend = AgentBackend("http://agent", client, apply_timeout_seconds=0.2)
    state = await backend.apply(BATCHED, 5)
    assert (state.config, state.generation, state.server_kind) == (BATCHED, 5, "regulus-embedded")
    assert state.support.bounds["instances"] == (1, 16)
    with pytest.raises(StaleGenerationError) as stale:
        await backend.apply(ServingConfig(), 4)
    assert stale.value.current == 5
    with pytest.raises(InfeasibleConfigError) as infeasible:
        await backend.apply(ServingConfig(instances=60), 6)
    assert infeasible.value.field == "instances"
    node.gate.clear()
    with pytest.raises(ApplyTimeoutError):
        await backend.apply(ServingConfig(), 7)
    await eventually(lambda: node.config == BATCHED, "the old configuration in force")
