"""A state machine over the loop, on a fake clock and a simulated node: whatever happens, the guardrails hold.

The policy is never satisfied and promises the world, so that nothing but the guardrails keeps it from switching. At the
end of each history, when all is well, it names something new each time, of which no measurement speaks against: then
only dwell and budget are left to hold it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.control.situation import BUDGET_SECONDS
from service.domain.decision import Action, Decision, Intent, Mode, Reason
from service.domain.errors import RegulusError
from service.domain.serving_config import ServingConfig
from service.store import Store
from tests.support.agents import Door, Fault, SimulatedNode
from tests.support.control_world import ScriptedPolicy, World
from tests.support.fake_clock import FakeClock

CONFIGS = [ServingConfig(), *(ServingConfig(enable_batching=True, max_batch_size=size) for size in (2, 4, 8, 16))]
#: What the owner's bounds allow: no batches beyond 8.
ALLOWED = CONFIGS[:4]

DWELL = 20.0
SWITCHING = {Action.APPLY, Action.ROLLBACK, Action.MANUAL}


class Loop(RuleBasedStateMachine):
    """One service and one node, and all that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        clock = FakeClock()
        self.clock = clock
        self.world = World(clock, Store.open("sqlite://", clock=clock))
        self.level = dict(zip(CONFIGS, (0.02, 0.02, 0.06, 0.06, 0.1), strict=True))
        self.node = self.world.add(
            SimulatedNode(clock, self._latency, rate=150),
            mode=Mode.AUTO,
            bounds={"max_batch_size": (0, 8)},
        )
        self.ever_new = (replace(ALLOWED[1], batch_timeout_micros=micros) for micros in count(1))
        self.mode = Mode.AUTO
        self.killed = False
        self.commands = 0
        self.seen = 0
        self.orders_when_forbidden: int | None = None

    def _latency(self, config: ServingConfig, rate: float) -> float:
        return self.level.get(replace(config, batch_timeout_micros=0), 0.2)

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(what)

    @initialize(intent=st.sampled_from([Intent.EXPLORE, Intent.EXPLOIT]), switches=st.sampled_from([3, 40]))
    def begin(self, intent: Intent, switches: int) -> None:
        self.policy = ScriptedPolicy(self._restless, intent)
        self.switches = switches
        self.do(self._start())

    async def _start(self) -> None:
        await self.world.start(
            policy=self.policy,
            apply_timeout_seconds=2,
            agent_timeout_seconds=2,
            max_backoff_seconds=4,
            min_dwell_seconds=DWELL,
            window_seconds=3,
            early_window_seconds=1,
            quarantine_seconds=30,
            max_switches_per_hour=self.switches,
            reserved_switches=1,
            burn_window_scale=0.02,
            freeze_seconds=30,
        )

    def _restless(self, workload: Any, incumbent: ServingConfig, explore: bool) -> ServingConfig:
        """Names the neighbour of whatever is in force, to and fro or, with few switches, round and round."""
        if incumbent not in ALLOWED:
            return ALLOWED[0]
        at = ALLOWED.index(incumbent)
        return ALLOWED[at ^ 1 if self.switches > len(ALLOWED) else (at + 1) % len(ALLOWED)]

    # What happens

    @rule(seconds=st.sampled_from([1.0, 5.0, 15.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(self.world.run_for(seconds))

    @rule(mode=st.sampled_from(Mode))
    def a_person_sets_the_mode(self, mode: Mode) -> None:
        self.do(self.world.supervisor.set_mode("m", mode))
        self.mode = mode
        self.nothing_is_written_where_it_is_not_allowed()
        self.do(self.world.run_for(25))

    @rule(on=st.booleans())
    def a_person_turns_the_kill_switch(self, on: bool) -> None:
        self.do(self.world.supervisor.turn_kill_switch(on=on))
        self.killed = on
        self.nothing_is_written_where_it_is_not_allowed()
        self.do(self.world.run_for(25))

    @rule(config=st.none() | st.sampled_from(CONFIGS))
    def a_person_commands(self, config: ServingConfig | None) -> None:
        async def command() -> None:
            supervisor = self.world.supervisor
            task = asyncio.ensure_future(supervisor.set_config("m", config) if config else supervisor.rollback("m"))
            while not task.done():
                await self.world.run_for(0.5)
            with contextlib.suppress(RegulusError):
                task.result()

        self.commands += 1
        self.do(command())

    @rule(config=st.sampled_from(CONFIGS), anew=st.booleans())
    def somebody_changes_the_node(self, config: ServingConfig, anew: bool) -> None:
        if anew:
            self.node.restart(config)
        else:
            self.node.put_in_force(config)

    @rule(
        door=st.sampled_from(["read", "order", "metrics"]),
        fault=st.sampled_from(["down", "garbage", "timeout"]),
        lasting=st.booleans(),
    )
    def something_breaks(self, door: Door, fault: Fault, lasting: bool) -> None:
        self.node.faults[door] = fault
        if not lasting:
            self.do(self.world.run_for(8))
            self.node.faults.clear()

    @precondition(lambda self: self.node.faults)
    @rule()
    def all_is_mended(self) -> None:
        self.node.faults.clear()

    @rule(rate=st.sampled_from([0.0, 150.0, 150.0, 400.0]))
    def the_load_changes(self, rate: float) -> None:
        self.node.rate = rate

    @rule(config=st.sampled_from(CONFIGS), median=st.sampled_from([0.01, 0.03, 0.2]))
    def the_landscape_changes(self, config: ServingConfig, median: float) -> None:
        self.level[config] = median

    @rule()
    def the_service_restarts(self) -> None:
        async def again() -> None:
            await self.world.stop()
            await self._start()

        self.do(again())

    # What must hold

    @property
    def forbidden(self) -> bool:
        return self.killed or self.mode is not Mode.AUTO

    @invariant()
    def nothing_is_written_where_it_is_not_allowed(self) -> None:
        allowed = len(self.node.orders) if self.orders_when_forbidden is None else self.orders_when_forbidden
        assert len(self.node.orders) <= allowed + self.commands
        self.orders_when_forbidden = len(self.node.orders) if self.forbidden else None
        self.commands = 0

    @invariant()
    def what_was_done_was_allowed(self) -> None:
        history = self.world.decisions()
        for index in range(self.seen, len(history)):
            self._check(history[index], [d for d in history[:index] if d.action in SWITCHING])
        self.seen = len(history)

    def _check(self, decision: Decision, before: list[Decision]) -> None:
        if decision.action is Action.APPLY:
            assert decision.mode is Mode.AUTO
            assert decision.config_after is not None
            assert replace(decision.config_after, batch_timeout_micros=0) in ALLOWED
            lately = [d for d in before if d.decided_at > decision.decided_at - BUDGET_SECONDS]
            assert len(lately) < self.switches
            last = before[-1].decided_at if before else float("-inf")
            if decision.reason in (Reason.IMPROVEMENT, Reason.EXPLORATION):
                assert decision.decided_at - last >= DWELL - 1e-6
        if decision.action is Action.ROLLBACK and decision.reason is not Reason.USER:
            assert decision.mode is Mode.AUTO
            known = {d.config_before for d in before} | {d.config_after for d in before} | set(CONFIGS)
            assert decision.config_after in known
        assert decision.explanation

    def teardown(self) -> None:
        async def end() -> None:
            await self._settle()
            await self.world.stop()

        try:
            if self.world._supervisor is not None:
                self.do(end())
        finally:
            self.world.store.close()
            self.runner.close()

    async def _settle(self) -> None:
        """In the end, undisturbed under a constant load, nothing takes turns, and a person can still go back."""
        self.node.faults.clear()
        self.node.rate = 150.0
        supervisor = self.world.supervisor
        await supervisor.turn_kill_switch(on=False)
        await supervisor.set_mode("m", Mode.AUTO)
        calm_since = self.clock.time()
        await self.world.run_for(150)
        switched = [
            decision.config_after
            for decision in self.world.decisions()
            if decision.action in SWITCHING and decision.decided_at >= calm_since
        ]
        for first, second, third, fourth in zip(switched, switched[1:], switched[2:], switched[3:], strict=False):
            assert (first, second) != (third, fourth), f"took turns: {[c.describe() for c in switched if c]}"
        await self._tempt()
        status = self.world.status()
        assert status.config == self.node.config
        if status.last_known_good is not None:
            await supervisor.set_mode("m", Mode.OFF)
            await supervisor.rollback("m")
            assert self.node.config == status.last_known_good

    async def _tempt(self) -> None:
        """All is well, and something new is promised each time: switches go on, no faster and no more than allowed."""
        self.level = dict.fromkeys(CONFIGS, 0.02)
        self.policy._choose, self.policy._intent = lambda *_: next(self.ever_new), Intent.EXPLOIT
        await self.world.run_for(4 * DWELL)
        self.what_was_done_was_allowed()
        switched = [
            one for one in self.world.decisions(*SWITCHING) if one.decided_at > self.clock.time() - BUDGET_SECONDS
        ]
        assert len(switched) >= self.switches or switched[-1].decided_at > self.clock.time() - 2 * DWELL


def test_the_guardrails_hold_whatever_happens():
    run_state_machine_as_test(
        Loop,
        settings=settings(
            max_examples=8,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
