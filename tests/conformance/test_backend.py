"""What every Backend does, whatever is behind it: a simulated agent, the embedded model server, or server processes
behind Envoy, both as real processes.

A backend joins by one more entry in the ``backend`` fixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from service.backends.agent_backend import AgentBackend
from service.backends.protocol import Backend, BackendPhase
from service.domain.clock import SystemClock
from service.domain.errors import InfeasibleConfigError, LeaseHeldError, StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.learning.space import KNOB_NAMES
from tests.node.running_node import node_program
from tests.support.agents import SimulatedNode, serving
from tests.support.modelserver import RunningServer, model_server

BATCHING = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=500, num_batch_threads=2)


@pytest.fixture(scope="module")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with model_server(tmp_path_factory.mktemp("embedded")) as server:
        yield server


@pytest.fixture(scope="module")
def node_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Each version has its own batching parameters, so that most changes need no new process.
    folder = tmp_path_factory.mktemp("node")
    pool = folder / "pool.txt"
    pool.write_text("num_batch_threads { value: 2 }")
    flags = ("--enable_batching", f"--batching_parameters_file={pool}", "--enable_per_model_batching_parameters")
    with node_program(folder, *flags) as agent:
        yield agent


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as opened:
        yield opened


def real_agent(kind: str, request: pytest.FixtureRequest) -> str:
    """Where the agent of a real node answers."""
    if kind == "node":
        return str(request.getfixturevalue("node_agent"))
    server: RunningServer = request.getfixturevalue("embedded_server")
    return f"http://127.0.0.1:{server.agent_port}"


@pytest.fixture(params=["simulated", "embedded", "node"])
async def backend(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> AsyncIterator[Backend]:
    if request.param == "simulated":
        async with serving(SimulatedNode(SystemClock(), lambda config, rate: 0.01)) as url:
            yield AgentBackend(url, client)
    else:
        yield AgentBackend(real_agent(request.param, request), client)


@pytest.fixture(params=["embedded", "node"])
def agent(request: pytest.FixtureRequest) -> str:
    return real_agent(request.param, request)


def test_it_is_a_backend(backend):
    assert isinstance(backend, Backend)


async def test_it_says_what_is_in_force_and_what_the_node_can_do(backend):
    state = await backend.read()
    assert state.phase is BackendPhase.SERVING
    assert state.generation >= 0
    assert state.server_kind != "unknown"
    assert state.support.cpus > 0
    assert set(state.support.bounds) == set(KNOB_NAMES)
    assert all(low <= high for low, high in state.support.bounds.values())


async def test_what_is_applied_is_in_force(backend):
    before = await backend.read()
    wanted = BATCHING.with_values(batch_timeout_micros=before.generation + 1)
    applied = await backend.apply(wanted, before.generation + 1)
    assert (applied.config, applied.generation) == (wanted, before.generation + 1)
    assert applied.phase is BackendPhase.SERVING
    assert await backend.read() == applied


async def test_batching_can_be_turned_off_again(backend):
    generation = (await backend.read()).generation
    await backend.apply(BATCHING, generation + 1)
    off = await backend.apply(ServingConfig(), generation + 2)
    assert off.config == ServingConfig()


async def test_applying_what_is_in_force_again_is_answered_at_once(backend):
    generation = (await backend.read()).generation + 1
    first = await backend.apply(BATCHING, generation)
    assert await backend.apply(BATCHING, generation) == first


async def test_a_stale_generation_is_refused_and_changes_nothing(backend):
    generation = (await backend.read()).generation
    before = await backend.apply(BATCHING, generation + 5)
    with pytest.raises(StaleGenerationError) as refused:
        await backend.apply(BATCHING.with_values(max_batch_size=16), generation + 5)
    assert (refused.value.requested, refused.value.current) == (generation + 5, generation + 5)
    assert await backend.read() == before


async def test_generations_may_skip(backend):
    generation = (await backend.read()).generation
    assert (await backend.apply(BATCHING, generation + 100)).generation == generation + 100


async def test_what_the_node_cannot_run_is_refused_with_the_knob_and_changes_nothing(backend):
    before = await backend.read()
    too_many = before.support.bounds["instances"][1] + 1
    with pytest.raises(InfeasibleConfigError) as refused:
        await backend.apply(before.config.with_values(instances=too_many), before.generation + 1)
    assert refused.value.field == "instances"
    assert str(too_many) in refused.value.message
    assert await backend.read() == before


async def test_of_two_writers_with_the_same_generation_one_wins(backend):
    generation = (await backend.read()).generation + 1
    rivals = [BATCHING.with_values(max_batch_size=size) for size in (16, 32)]
    answers = await asyncio.gather(*(backend.apply(config, generation) for config in rivals), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, StaleGenerationError)]
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(refused) == 1
    assert (await backend.read()) == won[0]


async def test_reading_is_safe_from_many_tasks_while_a_change_is_made(backend):
    generation = (await backend.read()).generation + 1
    states = await asyncio.gather(
        backend.apply(BATCHING.with_values(max_batch_size=generation + 2), generation),
        *(backend.read() for _ in range(20)),
    )
    assert {state.generation for state in states} <= {generation - 1, generation}


async def test_closing_twice_does_no_harm(backend):
    await backend.close()
    await backend.close()


async def test_of_two_controllers_one_writes_until_it_gives_the_lease_back(agent, client):
    one, two = (AgentBackend(agent, client, controller=name) for name in ("one", "two"))
    generation = (await one.read()).generation
    wanted = BATCHING.with_values(batch_timeout_micros=generation + 1)
    assert (await one.apply(wanted, generation + 1)).lease_holder == "one"
    for other in (two, AgentBackend(agent, client)):
        with pytest.raises(LeaseHeldError, match="one"):
            await other.apply(BATCHING, generation + 2)
        state = await other.read()
        assert (state.config, state.generation, state.lease_holder) == (wanted, generation + 1, "one")
    await one.close()
    assert (await two.apply(wanted.with_values(max_batch_size=16), generation + 2)).lease_holder == "two"
    await two.close()
    assert (await two.read()).lease_holder is None
