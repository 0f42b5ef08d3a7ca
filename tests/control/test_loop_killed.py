"""A control service killed at any of its writes: the next start knows what is in force, and the history does too.

Killed here means: from a certain write on, nothing of that run reaches the history. What it had ordered, the node does.
"""

from __future__ import annotations

from typing import Any

from service.domain.decision import Action
from service.domain.errors import StoreError
from service.domain.serving_config import ServingConfig
from service.store import Store
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, World, always
from tests.support.fake_clock import FakeClock

GOOD = ServingConfig(enable_batching=True, max_batch_size=16)

WRITES = (
    "add_observation",
    "add_decision",
    "put_slo",
    "put_mode",
    "put_intent",
    "put_incumbent",
    "put_last_known_good",
)


class DyingStore:
    """A store that takes so many writes and then fails at each; reading goes on.

    Args:
        store: The real one.
        writes: How many it takes.
    """

    def __init__(self, store: Store, writes: int) -> None:
        self._store = store
        self._left = writes

    @property
    def dead(self) -> bool:
        return self._left < 0

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            self._left -= 1
            if self.dead:
                raise StoreError("killed")
        return getattr(self._store, name)


async def test_killed_at_any_write_the_history_knows_what_is_in_force_and_why() -> None:
    writes = 0
    while not await survives(writes):
        writes += 1
    assert writes > 5


async def test_started_anew_while_the_node_still_switches_the_switch_is_known_for_its_own(world: World) -> None:
    node = world.add(SimulatedNode(world.clock, only_good))
    node.switch_seconds = 1000.0
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: node.state == "switching")
    await world.stop()
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(10)
    node.put_in_force(GOOD, 1)
    node.state, node.switch_seconds = "serving", 0.0
    await world.until(lambda: world.status().last_known_good == GOOD)
    assert [d.config_after for d in world.decisions(Action.APPLY)] == [GOOD]
    assert len(node.orders) == 1


def only_good(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == GOOD else 0.1


async def survives(writes: int) -> bool:
    """Live until a switch was verified or so many writes are done, start anew, and check; True when it was verified."""
    clock = FakeClock()
    store = Store.open("sqlite://", clock=clock)
    dying = DyingStore(store, writes)
    world = World(clock, dying)  # type: ignore[arg-type]
    node = world.add(SimulatedNode(clock, only_good))
    node.switch_seconds = 3.0
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: dying.dead or bool(store.decisions("m", actions={Action.VERIFY})))
    survived = not dying.dead
    await world.stop()

    world.store = store
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: world.status().last_known_good == GOOD)  # it goes on
    state = store.state("m")
    assert state is not None
    assert (state.incumbent, state.generation) == (node.config, node.generation), f"killed at write {writes}"
    switches = [d for d in world.decisions() if d.action is Action.APPLY]
    assert [d.config_after for d in switches] == [GOOD], f"killed at write {writes}"
    assert len(node.orders) == 1, f"killed at write {writes}"
    await world.stop()
    store.close()
    return survived
