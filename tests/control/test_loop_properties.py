"""Whatever happens in whatever order: the loop knows what is in force, and touches only what it may."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.decision import Action, Mode
from service.domain.errors import RegulusError
from service.domain.serving_config import ServingConfig
from service.store import Store
from tests.support.agents import Door, Fault, SimulatedNode
from tests.support.control_world import ScriptedPolicy, World
from tests.support.fake_clock import FakeClock

CONFIGS = [ServingConfig(), *(ServingConfig(enable_batching=True, max_batch_size=size) for size in (2, 4, 8, 16))]

#: Simulated seconds after which all is found out once the faults are over: the longest back-off, a look, a window.
CALM_SECONDS = 45.0


@dataclass(frozen=True)
class FaultAt:
    door: Door
    fault: Fault | None


@dataclass(frozen=True)
class Command:
    config: ServingConfig | None
    """None asks for a rollback."""


@dataclass(frozen=True)
class Outside:
    config: ServingConfig
    anew: bool
    """Whether the server starts anew, or somebody writes to the agent."""


@dataclass(frozen=True)
class Load:
    rate: float


class Restart:
    """The control service ends and starts again."""


Event = FaultAt | Command | Outside | Load | Mode | type[Restart]

configs = st.sampled_from(CONFIGS)
events = st.one_of(
    st.builds(FaultAt, st.sampled_from(["read", "order"]), st.sampled_from([None, "down", "hang", "garbage", "error"])),
    st.builds(FaultAt, st.just("order"), st.sampled_from(["conflict", "infeasible", "timeout", "lost answer"])),
    st.builds(FaultAt, st.just("metrics"), st.sampled_from([None, "down", "hang", "garbage"])),
    st.builds(Command, st.none() | configs),
    st.builds(Outside, configs, st.booleans()),
    st.builds(Load, st.sampled_from([0.0, 30.0, 150.0, 400.0])),
    st.sampled_from(Mode),
    st.just(Restart),
)
histories = st.lists(st.tuples(events, st.sampled_from([0.5, 3.0, 9.0])), min_size=3, max_size=12)


def restless(workload, incumbent, explore):
    """Never satisfied: names the next configuration."""
    return CONFIGS[(CONFIGS.index(incumbent) + 1) % len(CONFIGS)] if incumbent in CONFIGS else CONFIGS[0]


def median(config: ServingConfig, rate: float) -> float:
    return 0.1 / config.max_batch_size if config.enable_batching else 0.15


class Story:
    """One service, one node, and what happens to them."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.world = World(clock, Store.open("sqlite://", clock=clock))
        self.node = self.world.add(SimulatedNode(clock, median, rate=150), mode=Mode.AUTO)
        self.mode = Mode.AUTO

    async def begin(self) -> None:
        await self.world.start(
            policy=ScriptedPolicy(restless),
            apply_timeout_seconds=2,
            agent_timeout_seconds=2,
            max_backoff_seconds=4,
            min_dwell_seconds=6,
            window_seconds=3,
            quarantine_seconds=20,
        )

    async def happen(self, event: Event, seconds: float) -> None:
        node, world = self.node, self.world
        orders = len(node.orders)
        commanded = 0
        match event:
            case FaultAt(door, None):
                node.faults.pop(door, None)
            case FaultAt(door, fault):
                node.faults[door] = fault
            case Load(rate):
                node.rate = rate
            case Mode():
                self.mode = event
                await world.supervisor.set_mode("m", event)
            case Outside(config, True):
                node.restart(config)
            case Outside(config, False):
                node.put_in_force(config)
            case Command(config):
                commanded = 1
                await self._command(config)
            case _:
                await world.stop()
                await self.begin()
        await world.run_for(seconds)
        if self.mode is not Mode.AUTO:
            assert len(node.orders) - orders <= commanded, f"touched in mode {self.mode}"

    async def _command(self, config: ServingConfig | None) -> None:
        supervisor = self.world.supervisor
        command = supervisor.set_config("m", config) if config else supervisor.rollback("m")
        task = asyncio.ensure_future(command)
        while not task.done():
            await self.world.run_for(0.5)
        with contextlib.suppress(RegulusError):
            task.result()

    async def calm(self) -> None:
        self.node.faults.clear()
        await self.world.supervisor.set_mode("m", Mode.OFF)
        await self.world.run_for(CALM_SECONDS)

    def check(self) -> None:
        node, world = self.node, self.world
        status, stored = world.status(), world.store.state("m")
        assert (status.config, status.generation) == (node.config, node.generation)
        assert (stored.incumbent, stored.generation) == (node.config, node.generation)
        assert status.agent_reachable
        assert status.problem is None
        assert world.supervisor.ready() == (True, {"m": "ok"})
        history = world.decisions()
        assert all(decision.explanation for decision in history)
        assert [d.decided_at for d in history] == sorted(d.decided_at for d in history)
        assert all(d.mode is Mode.AUTO for d in history if d.action is Action.APPLY)
        noted = [decision.config_after for decision in history if decision.config_after is not None]
        assert node.config in noted

    async def end(self) -> None:
        await self.world.stop()
        self.world.store.close()


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(histories)
def test_after_any_history_what_is_in_force_is_known_and_no_mode_was_overstepped(history):
    async def tell() -> None:
        story = Story()
        try:
            await story.begin()
            for event, seconds in history:
                await story.happen(event, seconds)
            await story.calm()
            story.check()
        finally:
            await story.end()

    asyncio.run(tell())
