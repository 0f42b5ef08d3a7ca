"""No guardrail forgets by a restart: the store lies on a disk, and everything that reads it is made anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from service.control.error_budget import Burn
from service.domain.decision import Action, Intent, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.store import Store, codec
from service.store.schema import DECISIONS
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, World, always, in_turn, stay
from tests.support.fake_clock import FakeClock

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)
OTHER = ServingConfig(enable_batching=True, max_batch_size=4)
NEW = ServingConfig(enable_batching=True, max_batch_size=8)

#: The stretches of the error budget in a test: 6 s and 72 s (fast).
QUICK = 0.02


def only_good(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == GOOD else 0.1


def all_good(config: ServingConfig, rate: float) -> float:
    return 0.008


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    a_world = World(clock, opened(tmp_path, clock))
    try:
        yield a_world
    finally:
        await a_world.stop()
        a_world.store.close()


def opened(folder: Path, clock: FakeClock) -> Store:
    return Store.open(f"sqlite:///{folder}/regulus.db", clock=clock)


async def again(world: World, folder: Path, **how: Any) -> None:
    """End the service, close the database, and start both anew."""
    await world.stop()
    world.store.close()
    world.store = opened(folder, world.clock)
    await world.start(**how)


async def test_the_freeze_after_a_fast_burn(world, tmp_path):
    node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
    policy = ScriptedPolicy(stay, Intent.EXPLORE)
    await world.start(policy=policy, burn_window_scale=QUICK, min_dwell_seconds=0, freeze_seconds=100)
    await world.until(lambda: world.status().last_known_good == GOOD)
    node.put_in_force(OTHER)
    await world.until(lambda: node.config == GOOD, within=60)
    await world.until(lambda: world.status().error_budget.burn is Burn.HEALTHY, within=90)
    left, orders = world.status().frozen_seconds, len(node.orders)
    assert left > 20
    await again(world, tmp_path)
    policy._choose = always(NEW)
    await world.run_for(1)
    assert world.status().frozen_seconds == pytest.approx(left - 1, abs=1)
    assert world.status().error_budget.burn is Burn.HEALTHY  # so it is the freeze, and not the budget again
    await world.run_for(left - 5)
    assert len(node.orders) == orders
    await world.until(lambda: len(node.orders) > orders, within=60)


async def test_a_quarantine_however_much_was_decided_since(world, tmp_path):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.infeasible.add(GOOD)
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: len(node.orders) == 1)
    await world.run_for(2)
    until = world.status().quarantine[GOOD].until
    add_holds(world, 400)
    await again(world, tmp_path)
    await world.run_for(60)
    assert world.status().quarantine[GOOD].until == pytest.approx(until, abs=1)
    assert len(node.orders) == 1


async def test_what_switches_cost_however_much_was_decided_since(world, tmp_path):
    node = world.add(SimulatedNode(world.clock, all_good))
    await world.start(policy=ScriptedPolicy(in_turn(OTHER)))
    await world.until(lambda: node.config == OTHER)
    node.backlog_seconds = 2.0
    await world.until(lambda: world.status().spike_seconds > 0, within=60)
    cost = world.status().spike_seconds
    await world.run_for(1)
    add_holds(world, 400)
    await again(world, tmp_path)
    await world.run_for(1)
    assert world.status().spike_seconds == cost


async def test_that_a_person_ended_the_learning_period(world, tmp_path):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(stay), learning_windows=1000)
    await world.supervisor.skip_learning("m")
    await again(world, tmp_path, policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: node.config == GOOD, within=60)


async def test_how_much_was_learnt_even_what_is_not_replayed(world, tmp_path):
    world.add(SimulatedNode(world.clock, all_good))
    await world.start(policy=ScriptedPolicy(stay), learning_windows=8, learning_seconds=60, replay_limit=2)
    await world.run_for(90)
    assert world.status().permission.learning is None
    await again(world, tmp_path)
    await world.run_for(1)
    assert world.status().permission.learning is None


async def test_that_somebody_changed_the_node_a_moment_ago(world, tmp_path):
    """As after a person's command the whole dwell passes, also when nobody looked on."""
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(stay), min_dwell_seconds=60)
    await world.run_for(10)
    node.put_in_force(OTHER)
    await world.run_for(10)
    await again(world, tmp_path, policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(40)
    assert (node.config, world.status().hold_reason) == (OTHER, Reason.DWELL)
    await world.until(lambda: node.config == GOOD, within=60)
    await world.stop()
    node.put_in_force(OTHER)
    await world.start()
    await world.run_for(50)
    assert node.config == OTHER
    await world.until(lambda: node.config == GOOD, within=60)


async def test_that_the_objective_was_met_a_moment_ago(world, tmp_path):
    """A first violation out of the blue is waited out, also right after a start."""
    level = {DEFAULT: 0.008}
    node = world.add(SimulatedNode(world.clock, lambda config, rate: level.get(config, 0.008)))
    await world.start(policy=ScriptedPolicy(always(GOOD), Intent.EXPLORE, predicted=None))
    await world.run_for(40)
    assert node.orders == []
    await again(world, tmp_path)
    level[DEFAULT] = 0.2
    await world.until(lambda: node.orders != [], within=60)
    assert "waiting whether the violation lasts" in [d.explanation.split(": ")[-1] for d in world.decisions()]


async def test_a_clock_that_was_set_back_blocks_nothing_for_longer_than_it_may(world, tmp_path, monkeypatch):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["order"] = "timeout"
    await world.start(policy=ScriptedPolicy(always(GOOD)), quarantine_seconds=100)
    await world.until(lambda: len(node.orders) == 1)
    await world.run_for(2)
    node.faults.clear()
    real = world.clock.time
    monkeypatch.setattr(world.clock, "time", lambda: real() - 10 * 86_400)
    await again(world, tmp_path)
    await world.until(lambda: node.config == GOOD, within=200)


async def test_nothing_is_written_while_nothing_changes(world):
    world.add(SimulatedNode(world.clock, all_good))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(30)
    written: list[object] = []
    put = world.store.put_guards
    world.store.put_guards = lambda *what: written.append(what) or put(*what)
    await world.run_for(60)
    assert written == []


async def test_an_objective_that_is_set_anew_is_counted_over_all_that_is_remembered(world, tmp_path):
    node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.03))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(60)
    assert world.status().error_budget.remaining_ratio == pytest.approx(1.0, abs=1e-3)
    await world.supervisor.set_slo("m", Slo(0.01))
    spent = world.status().error_budget.remaining_ratio
    assert spent < 0.999
    await again(world, tmp_path)
    await world.run_for(1)
    assert world.status().error_budget.remaining_ratio == pytest.approx(spent, abs=1e-4)
    assert node.orders == []


def add_holds(world: World, count: int) -> None:
    """Many decisions at once."""
    text = codec.decision_to_text(replace(world.decisions(Action.HOLD)[0], decided_at=world.clock.time()))
    row = {"model": "m", "decided_at": world.clock.time(), "action": "hold", "format": codec.FORMAT, "body": text}
    with world.store._database.transaction() as connection:
        connection.execute(insert(DECISIONS), [row] * count)
