"""Changes: what they leave where something fails or dies on the way; with real processes in test_node.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.arguments import understand
from service.node.changes import RESTART, Changes, Parts
from service.node.errors import HeadRoomError, StateError
from service.node.files import Ledger, NodeFolder
from service.node.front import EnvoyFront
from service.node.servers import Servers
from service.node.state import NodeState, ServerRecord
from service.node.taken_back import TakenBack
from tests.node.pretended import Disk, Front, Processes, living

TWO = ServingConfig(instances=2)
OTHER = TWO.with_values(tensorflow_intra_op_parallelism=2)


@dataclass
class World:
    """Changes among what is pretended."""

    ledger: Ledger
    disk: Disk
    front: Front
    processes: Processes
    changes: Changes
    watched: list[int]

    @property
    def serving(self) -> list[int]:
        return [one.grpc_port for one in self.ledger.state.serving]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = NodeFolder(tmp_path)
    folder.take()
    disk = Disk(folder.path)
    front, processes, watched = Front(disk), Processes(), list[int]()
    state = NodeState(generation=3, config=TWO, launched=TWO, serving=(living(1), living(2)))
    ledger = Ledger(folder, state)

    async def retire(_server: ServerRecord) -> None:
        """Nothing is counted here."""

    changes = Changes(
        Parts(
            ledger=ledger,
            front=cast(EnvoyFront, front),
            servers=cast(Servers, processes),
            arguments=understand(
                ["--model_base_path=/models/m"], cpus=2.0, instances=2, model=None, read=lambda _path: ""
            ),
            folder=folder,
            cpus=2.0,
            drain_seconds=1.0,
            watch=lambda server: watched.append(server.grpc_port),
            retire=retire,
        )
    )
    yield World(ledger, disk, front, processes, changes, watched)
    folder.leave()


@pytest.mark.parametrize("canary", [False, True])
async def test_what_cannot_be_written_down_does_not_come_into_force_and_loses_nothing(
    world: World, canary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = world.front.move

    async def move_and_fill(*endpoints: object) -> None:
        await move(*endpoints)  # type: ignore[arg-type]
        world.disk.fill()

    monkeypatch.setattr("service.node.changes._RETRY_SECONDS", 0.001)
    with monkeypatch.context() as patch:
        patch.setattr(world.front, "move", move_and_fill)
        with pytest.raises(StateError):
            await (world.changes.try_out(OTHER, 4) if canary else world.changes.make(OTHER, 4, "restart", previous=TWO))
    state = world.ledger.state
    assert (state.config, state.generation, state.canary, world.serving) == (TWO, 3, None, [1, 2])
    assert world.watched == []
    # Envoy sends to them until it can be told otherwise; until then they live.
    assert world.processes.started
    world.disk.make_room()
    new = list(world.processes.started)
    await world.changes.drained()
    assert world.front.ports == [1, 2]
    assert (world.front.drained, world.processes.started) == (new, [])
    assert world.ledger.state.draining == ()


async def test_until_the_first_processes_serve_nothing_of_before_is_forgotten(world: World) -> None:
    before = NodeState(generation=3, config=OTHER, launched=OTHER, previous=TWO)
    world.ledger.write(before)
    wanted = before.begun_anew(NodeState(generation=0, config=TWO, launched=TWO))
    world.processes.gate.clear()
    first = asyncio.create_task(world.changes.first(wanted))
    await world.processes.begun.wait()
    written = world.ledger.state
    assert (written.config, written.previous, written.generation, len(written.starting)) == (OTHER, TWO, 3, 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert world.ledger.state == before
    world.processes.gate.set()
    await world.changes.first(wanted)
    assert (world.ledger.state.config, world.ledger.state.generation, len(world.serving)) == (TWO, 4, 2)


async def test_who_took_the_place_of_one_that_died_while_more_were_started_stays(world: World) -> None:
    world.processes.gate.clear()
    change = asyncio.create_task(world.changes.make(TWO.with_values(instances=3), 4, "restart", previous=TWO))
    await world.processes.begun.wait()
    world.ledger.write(world.ledger.state.lost(living(1)).joined(living(50)))
    world.processes.gate.set()
    await change
    assert (world.serving, world.ledger.state.draining) == ([2, 50, 100], ())


async def test_a_model_larger_than_all_memory_is_infeasible_and_no_room_now_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.node.changes.node_total_memory", lambda: 4 << 30)
    monkeypatch.setattr("service.node.changes.node_free_memory", lambda: 1 << 20)
    world.processes.model = 1 << 30
    with pytest.raises(HeadRoomError):
        await world.changes.make(OTHER, 4, "restart", previous=TWO)
    world.processes.model = 3 << 30
    with pytest.raises(InfeasibleConfigError):
        await world.changes.make(OTHER, 4, "restart", previous=TWO)
    assert world.processes.started == []


async def test_a_change_that_takes_something_back_remembers_that_in_the_same_stroke(world: World) -> None:
    taken_back = TakenBack.crashing(3, TWO, "")
    await world.changes.make(OTHER, 4, "restart", previous=None, taken_back=taken_back)
    assert world.ledger.state.taken_back == taken_back
    await world.changes.make(OTHER.with_values(instances=1), 5, "restart", previous=OTHER)
    assert world.ledger.state.taken_back == taken_back


async def test_new_processes_yield_to_those_that_serve_and_hurry_where_none_does(world: World) -> None:
    await world.changes.make(OTHER, 4, RESTART, previous=TWO)
    await world.changes.drained()
    assert world.processes.unfelt == [True]
    nobody = NodeState(generation=5, config=TWO, launched=TWO)
    world.ledger.note(nobody)
    await world.changes.first(nobody)
    assert world.processes.unfelt == [True, False]
