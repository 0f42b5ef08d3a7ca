"""The agent API over a node whose changes can be held up; real nodes answer it in tests/conformance/test_backend.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.agent.api import CONTROLLER_HEADER, MAX_BODY_BYTES, Agent
from service.agent.errors import NoMetricsError, NotInForceError
from service.agent.lease import SOMEBODY, LeaseBook
from service.agent.node import Canary
from service.backends.agent_backend import AgentBackend
from service.backends.protocol import CanaryState
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    LeaseHeldError,
    StaleGenerationError,
)
from service.domain.serving_config import ServingConfig
from tests.support.manual_clock import START, ManualClock

BATCHED = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=500)


class HeldNode:
    """Takes a configuration when the gate is open, unless it is told to fail."""

    def __init__(self) -> None:
        self.config = ServingConfig()
        self.generation = 0
        self.switching = False
        self.bounds = {"max_batch_size": (0, 1024), "num_batch_threads": (1, 256), "instances": (1, 16)}
        self.failure: Exception | None = None
        self.ill: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.taken: list[tuple[int, ServingConfig]] = []

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        self.switching = True
        self.begun.set()
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.switching = False
        self.config, self.generation = config, generation
        self.taken.append((generation, config))

    async def details(self) -> dict[str, Any]:
        return {"models": [{"name": "m", "versions": [1]}]}

    def trouble(self) -> str | None:
        return self.ill

    async def metrics(self) -> str:
        if self.ill is not None:
            raise NoMetricsError(self.ill)
        return "# TYPE x counter\n"


@pytest.fixture
def node() -> HeldNode:
    return HeldNode()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def client(node: HeldNode, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    agent = Agent(node, LeaseBook(clock), server=("held", "1.2"), cpus=1.5, memory_bytes=1 << 30)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(agent.app()), base_url="http://agent") as http:
        yield http


async def put(
    client: httpx.AsyncClient, generation: Any, config: Any, by: str | None = None, **more: Any
) -> httpx.Response:
    raw = config.to_dict() if isinstance(config, ServingConfig) else config
    headers = {CONTROLLER_HEADER: by} if by else {}
    order = {"generation": generation, "config": raw, **more}
    return await client.put("/agent/v1/config", json=order, headers=headers)


async def get(client: httpx.AsyncClient, by: str | None = None) -> dict[str, Any]:
    answer = await client.get("/agent/v1/config", headers={CONTROLLER_HEADER: by} if by else {})
    body: dict[str, Any] = answer.json()
    return body


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


async def test_the_configuration_in_force_is_told_with_what_the_node_can_do(client: httpx.AsyncClient) -> None:
    assert await get(client) == {
        "config": ServingConfig().to_dict(),
        "generation": 0,
        "state": "serving",
        "support": {
            "knobs": {
                "max_batch_size": {"min": 0, "max": 1024},
                "num_batch_threads": {"min": 1, "max": 256},
                "instances": {"min": 1, "max": 16},
            },
            "cpus": 1.5,
            "memory_bytes": 1 << 30,
            "canary": False,
        },
        "server": {"kind": "held", "version": "1.2"},
        "lease": None,
        "canary": None,
        "models": [{"name": "m", "versions": [1]}],
    }


async def test_an_order_is_carried_out_and_missing_fields_take_tensorflow_servings_defaults(
    client: httpx.AsyncClient, node: HeldNode
) -> None:
    body = (await put(client, 3, BATCHED)).json()
    assert (body["config"], body["generation"]) == (BATCHED.to_dict(), 3)
    await put(client, 4, {"enable_batching": True})
    assert node.taken == [(3, BATCHED), (4, ServingConfig(enable_batching=True))]


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
        ({"generation": 1, "config": {}, "force": "yes"}, "force"),
    ],
)
async def test_what_is_not_allowed_is_refused_and_the_field_named(
    client: httpx.AsyncClient, node: HeldNode, order: dict[str, Any], field: str
) -> None:
    document = problem(await client.put("/agent/v1/config", json=order), 422)
    assert [error["field"] for error in document["errors"]] == [field]
    assert document["errors"][0]["message"]
    assert node.taken == []


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"NaN", b"[" * 100_000])
async def test_what_is_not_json_is_a_bad_request(client: httpx.AsyncClient, body: bytes) -> None:
    problem(await client.put("/agent/v1/config", content=body), 400)


async def test_a_body_without_end_is_cut_off(client: httpx.AsyncClient) -> None:
    problem(await client.put("/agent/v1/config", content=b" " * (MAX_BODY_BYTES + 1)), 413)


@pytest.mark.parametrize(
    ("failure", "status", "raised", "told"),
    [
        (StaleGenerationError(1, 3), 409, StaleGenerationError, "3"),
        (InfeasibleConfigError("num_batch_threads", "too many"), 422, InfeasibleConfigError, "too many"),
        (NotInForceError("its last words"), 500, BackendUnavailableError, "its last words"),
        (TimeoutError(), 504, ApplyTimeoutError, "kept serving"),
    ],
)
async def test_what_goes_wrong_at_the_node_is_told_and_understood_by_the_control_services_client(
    client: httpx.AsyncClient, node: HeldNode, failure: Exception, status: int, raised: type[Exception], told: str
) -> None:
    node.failure = failure
    assert told in problem(await put(client, 1, BATCHED), status)["detail"]
    with pytest.raises(raised, match=told):
        await AgentBackend("http://agent", client).apply(BATCHED, 1)


async def test_what_is_not_ready_in_time_is_given_up(client: httpx.AsyncClient, node: HeldNode) -> None:
    node.gate.clear()
    assert problem(await put(client, 1, BATCHED, timeout_seconds=0.05), 504)["current_generation"] == 0
    assert node.taken == []


async def test_while_it_switches_it_says_so(client: httpx.AsyncClient, node: HeldNode) -> None:
    node.gate.clear()
    order = asyncio.create_task(put(client, 1, BATCHED))
    await node.begun.wait()
    assert (await get(client))["state"] == "switching"
    node.gate.set()
    await order
    assert (await get(client))["state"] == "serving"


async def test_health_and_metrics_are_answered_or_say_why_not(client: httpx.AsyncClient, node: HeldNode) -> None:
    assert (await client.get("/agent/v1/health")).json() == {"status": "ok"}
    metrics = await client.get("/agent/v1/metrics")
    assert metrics.text == "# TYPE x counter\n"
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    node.ill = "no server process runs"
    for place in ("health", "metrics"):
        assert "no server process" in problem(await client.get(f"/agent/v1/{place}"), 503)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/agent/v1/nope", 404), ("POST", "/agent/v1/config", 405)]
)
async def test_unknown_places_and_methods_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    problem(await client.request(method, path), status)


async def test_who_writes_under_a_name_holds_the_lease_and_another_is_refused(
    client: httpx.AsyncClient, node: HeldNode, clock: ManualClock
) -> None:
    assert (await put(client, 1, BATCHED, by="one")).json()["lease"]["holder"] == "one"
    clock.advance(10)
    for other in ("two", None):
        document = problem(await put(client, 2, ServingConfig(), by=other), 423)
        assert "one" in document["detail"]
        assert (document["holder"], document["since"], document["expires"]) == ("one", START, START + 60)
    assert node.taken == [(1, BATCHED)]
    assert (await put(client, 2, ServingConfig(), by="one")).status_code == 200


async def test_the_lease_is_kept_by_looking_and_runs_out_without_a_sign_of_its_holder(
    client: httpx.AsyncClient, clock: ManualClock
) -> None:
    await put(client, 1, BATCHED, by="one")
    for _ in range(3):
        clock.advance(50)
        assert (await get(client, by="one"))["lease"] == {"holder": "one", "since": START, "expires": clock.time() + 60}
        assert (await get(client, by="two"))["lease"]["holder"] == "one"
    clock.advance(60)
    assert (await get(client, by="one"))["lease"] is None
    assert (await put(client, 2, ServingConfig(), by="two")).json()["lease"]["holder"] == "two"


async def test_the_lease_does_not_run_out_while_an_order_of_its_holder_is_carried_out(
    client: httpx.AsyncClient, node: HeldNode, clock: ManualClock
) -> None:
    node.gate.clear()
    order = asyncio.create_task(put(client, 1, BATCHED, by="one", timeout_seconds=600))
    await node.begun.wait()
    clock.advance(300)
    # The next contact would renew it, so it is told to last as long as ever.
    assert (await get(client, by="two"))["lease"] == {"holder": "one", "since": START, "expires": clock.time() + 60}
    problem(await put(client, 2, ServingConfig(), by="two"), 423)
    node.gate.set()
    await order
    clock.advance(59)
    problem(await put(client, 2, ServingConfig(), by="two"), 423)
    clock.advance(1)
    assert (await put(client, 2, ServingConfig(), by="two")).json()["lease"]["holder"] == "two"


@pytest.mark.parametrize("how", ["by force", "given back"])
async def test_the_end_of_an_order_leaves_the_lease_to_who_took_it_meanwhile(
    client: httpx.AsyncClient, node: HeldNode, clock: ManualClock, how: str
) -> None:
    node.gate.clear()
    first = asyncio.create_task(put(client, 1, BATCHED, by="one", timeout_seconds=600))
    await node.begun.wait()
    node.begun.clear()
    if how == "given back":
        await client.delete("/agent/v1/lease", headers={CONTROLLER_HEADER: "one"})
    second = asyncio.create_task(put(client, 2, BATCHED, by="two", force=how == "by force", timeout_seconds=600))
    await node.begun.wait()
    node.gate.set()
    await asyncio.gather(first, second)
    assert (await get(client))["lease"]["holder"] == "two"
    problem(await put(client, 3, BATCHED, by="one"), 423)
    clock.advance(60)
    assert (await get(client))["lease"] is None


async def test_who_forces_a_change_takes_the_lease(client: httpx.AsyncClient, node: HeldNode) -> None:
    await put(client, 1, BATCHED, by="one")
    assert (await put(client, 2, ServingConfig(), by="two", force=True)).json()["lease"]["holder"] == "two"
    problem(await put(client, 3, BATCHED, by="one"), 423)
    assert (await put(client, 3, BATCHED, force=True)).json()["lease"]["holder"] == SOMEBODY
    problem(await put(client, 4, BATCHED, by="two"), 423)
    assert [generation for generation, _ in node.taken] == [1, 2, 3]


async def test_a_lease_is_given_back_by_its_holder_alone(client: httpx.AsyncClient) -> None:
    await put(client, 1, BATCHED, by="one")
    for by, left in (({}, True), ({CONTROLLER_HEADER: "two"}, True), ({CONTROLLER_HEADER: "one"}, False)):
        assert (await client.delete("/agent/v1/lease", headers=by)).status_code == 204
        assert ((await get(client))["lease"] is not None) == left


async def test_a_wrong_order_takes_no_lease_and_a_name_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient,
) -> None:
    problem(await put(client, 1, {"instances": 0}, by="one"), 422)
    assert (await get(client))["lease"] is None
    problem(await put(client, 1, BATCHED, by="x" * 129), 400)


class TryingNode(HeldNode):
    """Has one process try things out, so it says."""

    def __init__(self) -> None:
        super().__init__()
        self.canary: Canary | None = None

    async def try_out(self, config: ServingConfig, generation: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.canary = Canary(generation, config, None)

    async def withdraw(self) -> None:
        self.canary = None


async def test_a_node_of_several_processes_tries_out_what_it_is_asked_to_and_nothing_is_in_force(
    clock: ManualClock,
) -> None:
    node = TryingNode()
    agent = Agent(node, LeaseBook(clock), server=("held", "1"), cpus=1.0, memory_bytes=None, canaries=node)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(agent.app()), base_url="http://agent") as client:
        backend = AgentBackend("http://agent", client, controller="me")
        state = await backend.try_out(BATCHED, 1)
        assert (state.support.canary, state.canary) == (True, CanaryState(generation=1, config=BATCHED))
        assert (state.config, state.generation, node.taken) == (ServingConfig(), 0, [])
        assert problem(await client.request("DELETE", "/agent/v1/canary"), 423)["holder"] == "me"
        assert node.canary is not None
        node.canary = Canary(1, BATCHED, "it died")
        assert (await backend.read()).canary == CanaryState(generation=1, config=BATCHED, ended="it died")
        await backend.withdraw()
        assert (await backend.read()).canary is None
        node.failure = NotInForceError("no memory")
        with pytest.raises(BackendUnavailableError, match="no memory"):
            await backend.try_out(BATCHED, 1)


async def test_a_node_of_one_process_refuses_to_try_anything_out(client: httpx.AsyncClient, node: HeldNode) -> None:
    assert (await get(client))["support"]["canary"] is False
    refused = problem(await put(client, 1, BATCHED, canary=True), 422)
    assert refused["errors"] == [{"field": "canary", "message": "must be false: this node cannot split its requests"}]
    assert node.taken == []
    assert (await client.delete("/agent/v1/canary")).status_code == httpx.codes.NO_CONTENT


async def test_two_control_services_of_one_node_are_told_apart_by_their_backends(client: httpx.AsyncClient) -> None:
    one, two = (AgentBackend("http://agent", client, controller=name) for name in ("one", "two"))
    assert (await one.apply(BATCHED, 1)).lease_holder == "one"
    with pytest.raises(LeaseHeldError) as refused:
        await two.apply(ServingConfig(), 2)
    assert (refused.value.holder, refused.value.since, refused.value.expires) == ("one", START, START + 60)
    assert (await two.read()).lease_holder == "one"
    await two.close()
    await one.close()
    assert (await two.apply(ServingConfig(), 2)).lease_holder == "two"


async def test_the_lease_of_a_dead_controller_goes_to_its_heir_and_to_nobody_else(client: httpx.AsyncClient) -> None:
    dead, heir, stranger = (AgentBackend("http://agent", client, controller=name) for name in ("dead", "heir", "other"))
    await dead.apply(BATCHED, 1)
    with pytest.raises(LeaseHeldError):
        await heir.apply(BATCHED, 2)
    heir.succeed("dead")
    assert (await heir.read()).lease_holder is None
    assert (await heir.apply(BATCHED, 2)).lease_holder == "heir"
    # Were the dead alive after all, it could not write beside its heir.
    for controller in (dead, stranger):
        with pytest.raises(LeaseHeldError, match="heir"):
            await controller.apply(BATCHED, 3)
