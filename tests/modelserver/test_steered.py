"""The embedded server as a node: numbers and turns; a real one answers in test_switch.py."""

from __future__ import annotations

import asyncio

import pytest

from service.agent.errors import NotInForceError
from service.domain.errors import StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.modelserver.status import Code, ServingError
from service.modelserver.steered import SteeredServer

BATCHED = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=500)


class HeldManager:
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
def manager() -> HeldManager:
    return HeldManager()


@pytest.fixture
def generations() -> list[int]:
    return []


@pytest.fixture
def server(manager: HeldManager, generations: list[int]) -> SteeredServer:
    return SteeredServer(
        manager, on_generation=generations.append, models=lambda: [{"name": "m"}], render_metrics=lambda: "# page\n"
    )


async def test_a_newer_generation_is_put_in_force_and_the_same_again_is_not_done_again(
    server: SteeredServer, manager: HeldManager, generations: list[int]
) -> None:
    for _ in range(2):
        await server.reconfigure(BATCHED, 3)
    assert (server.config, server.generation) == (BATCHED, 3)
    assert manager.taken == [BATCHED]
    assert generations == [0, 3]


@pytest.mark.parametrize(("generation", "config"), [(2, ServingConfig()), (1, BATCHED), (0, BATCHED)])
async def test_an_older_generation_or_the_same_with_another_configuration_is_stale(
    server: SteeredServer, manager: HeldManager, generation: int, config: ServingConfig
) -> None:
    await server.reconfigure(BATCHED, 2)
    with pytest.raises(StaleGenerationError) as stale:
        await server.reconfigure(config, generation)
    assert stale.value.current == 2
    assert manager.taken == [BATCHED]


async def test_a_change_that_is_given_up_or_fails_leaves_the_old_configuration_and_generation(
    server: SteeredServer, manager: HeldManager
) -> None:
    manager.gate.clear()
    given_up = asyncio.create_task(server.reconfigure(BATCHED, 1))
    await asyncio.sleep(0)
    assert server.switching
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    manager.gate.set()
    manager.failure = ServingError(Code.RESOURCE_EXHAUSTED, "no memory left")
    with pytest.raises(NotInForceError, match="RESOURCE_EXHAUSTED: no memory left"):
        await server.reconfigure(BATCHED, 1)
    assert (server.config, server.generation, server.switching) == (ServingConfig(), 0, False)
    manager.failure = None
    await server.reconfigure(BATCHED, 1)
    assert server.generation == 1


async def test_the_next_change_waits_its_turn(server: SteeredServer, manager: HeldManager) -> None:
    manager.gate.clear()
    changes = [asyncio.create_task(server.reconfigure(BATCHED.with_values(instances=n), n)) for n in (1, 2)]
    await asyncio.sleep(0)
    manager.gate.set()
    await asyncio.gather(*changes)
    assert [config.instances for config in manager.taken] == [1, 2]


async def test_models_and_metrics_are_the_servers(server: SteeredServer) -> None:
    assert await server.details() == {"models": [{"name": "m"}]}
    assert await server.metrics() == "# page\n"
    assert server.trouble() is None
