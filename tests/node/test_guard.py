"""Guard: who takes the place of a process that ended by itself, also while nothing can be written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from service.domain.serving_config import ServingConfig
from service.node.crashes import CrashRules
from service.node.files import Ledger, NodeFolder
from service.node.front import EnvoyFront
from service.node.guard import Guard
from service.node.servers import Servers
from service.node.state import NodeState, ServerRecord
from tests.node.pretended import Disk, Front, Processes, dead, living
from tests.support.fake_clock import FakeClock

TWO = ServingConfig(instances=2)


class World:
    """A guard among fakes."""

    def __init__(self, folder: NodeFolder) -> None:
        self.folder = folder
        self.disk = Disk(folder.path)
        self.front = Front(self.disk)
        self.processes = Processes()
        self.clock = FakeClock(sleepers=0)
        self.taken_back: list[int] = []
        state = NodeState(generation=3, config=TWO, launched=TWO, previous=TWO, serving=(living(1), dead(2)))
        self.ledger = Ledger(folder, state)
        self.guard = Guard(
            self.ledger,
            cast(EnvoyFront, self.front),
            cast(Servers, self.processes),
            self.clock,
            rules=CrashRules(),
            start_seconds=60.0,
            take_back=self._take_back,
            note=lambda _process: None,
            canary_died=self._no_canary,
        )
        self.guard.in_force(3)

    @property
    def serving(self) -> list[int]:
        return [one.grpc_port for one in self.ledger.state.serving]

    async def _take_back(self, generation: int, _last_words: str) -> bool:
        self.taken_back.append(generation)
        return False

    async def _no_canary(self, _server: ServerRecord, _last_words: str) -> bool:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[NodeFolder]:
    folder = NodeFolder(tmp_path)
    folder.take()
    yield folder
    folder.leave()


@pytest.fixture
async def world(folder: NodeFolder) -> AsyncIterator[World]:
    world = World(folder)
    yield world
    await world.guard.stop()


async def test_a_server_that_dies_while_the_disk_is_full_is_replaced_once_there_is_room(world: World) -> None:
    world.disk.fill()
    world.guard.watch(dead(2))
    await world.clock.run_for(600)
    # It is gone, whether or not that could be written down; and no configuration is blamed for a full disk.
    assert (world.serving, world.processes.started, world.taken_back) == ([1], [], [])
    world.disk.make_room()
    await world.clock.run_until(lambda: world.serving == [1, 100], within=30)
    assert world.front.ports == [1, 100]
    assert world.folder.read_state() == world.ledger.state


async def test_envoy_that_dies_while_the_disk_is_full_is_started_again_once_there_is_room(world: World) -> None:
    world.disk.fill()
    world.guard.watch_front()
    await world.clock.run_for(600)
    assert world.front.starts == 0
    world.disk.make_room()
    await world.clock.run_until(lambda: world.front.starts == 1, within=30)


async def test_a_replacement_that_does_not_come_up_is_tried_again_for_as_long_as_it_takes(world: World) -> None:
    world.processes.failures = 600
    world.guard.watch(dead(2))
    await world.clock.run_until(lambda: len(world.serving) == 2, within=600 * 30.0)
    assert world.processes.failures == 0


async def test_what_is_being_replaced_is_not_missing_a_second_time(world: World) -> None:
    world.processes.gate.clear()
    world.guard.watch(dead(2))
    await world.processes.begun.wait()
    world.guard.replace_missing()
    world.guard.replace_missing()
    world.processes.gate.set()
    await world.clock.run_until(lambda: len(world.serving) == 2, within=1)
    assert (world.serving, world.processes.started) == ([1, 100], [100])


async def test_a_replacement_that_a_change_overtakes_is_started_for_the_new_generation_instead(world: World) -> None:
    world.processes.gate.clear()
    world.guard.watch(dead(2))
    await world.processes.begun.wait()
    # What serves goes on under the next number, as after a change by a new version folder.
    state = world.ledger.state
    world.ledger.write(state.reversioned(4, state.config.with_values(max_enqueued_batches=9), 2))
    world.guard.in_force(4)
    world.guard.replace_missing()
    world.processes.gate.set()
    await world.clock.run_until(lambda: len(world.serving) == 2, within=1)
    assert [one.generation for one in world.ledger.state.serving] == [3, 4]
    assert len(world.processes.started) == 1
