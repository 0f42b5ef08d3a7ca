"""After a restart the loop goes on where it stopped, and knows what happened meanwhile."""

from __future__ import annotations

from service.domain.decision import Action, Mode, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, always, in_turn, stay

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)
OTHER = ServingConfig(enable_batching=True, max_batch_size=4)


def only_good(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == GOOD else 0.1


async def restart(world, **how) -> None:
    await world.stop()
    await world.start(**how)


async def test_objective_mode_and_last_known_good_are_remembered(world):
    world.add(SimulatedNode(world.clock, only_good, config=GOOD), mode=Mode.RECOMMEND)
    await world.start(policy=ScriptedPolicy(stay))
    await world.supervisor.set_slo("m", Slo(0.07, 0.95, 0.9))
    await world.supervisor.set_mode("m", Mode.AUTO)
    await world.until(lambda: world.status().last_known_good == GOOD)
    await restart(world)
    await world.run_for(1)
    status = world.status()
    assert (status.slo, status.mode, status.last_known_good) == (Slo(0.07, 0.95, 0.9), Mode.AUTO, GOOD)


async def test_what_is_said_before_the_history_was_read_is_not_overwritten_by_it(world):
    world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(stay))
    await world.supervisor.set_mode("m", Mode.RECOMMEND)
    await restart(world)
    await world.supervisor.set_mode("m", Mode.OFF)
    await world.run_for(5)
    assert world.status().mode is Mode.OFF


async def test_the_policy_learns_again_what_was_observed(world):
    world.add(SimulatedNode(world.clock, only_good))
    first = ScriptedPolicy(in_turn(GOOD))
    await world.start(policy=first)
    await world.run_for(60)
    second = ScriptedPolicy(stay)
    await restart(world, policy=second)
    await world.run_for(1)
    assert second.observed == first.observed
    assert world.status().observations == len(first.observed)


async def test_the_search_is_not_begun_anew(world):
    node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.008 if config.max_batch_size == 8 else 0.1))
    await world.start()
    await world.until(lambda: world.status().verdict is SloVerdict.MET, within=120)
    found, orders = node.config, len(node.orders)
    await world.stop()
    node.restart()
    await world.start()
    await world.until(lambda: node.config == found, within=20)
    assert len(node.orders) == orders + 1


async def test_what_is_in_force_as_remembered_is_confirmed(world):
    world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)
    await restart(world)
    await world.run_for(2)
    reconciled = [d for d in world.decisions(Action.HOLD) if d.reason is Reason.RECONCILED]
    assert "as the history has it" in reconciled[-1].explanation
    assert reconciled[-1].config_after == GOOD


async def test_what_was_changed_meanwhile_is_noted(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(10)
    await world.stop()
    node.put_in_force(OTHER)
    await world.start()
    await world.run_for(2)
    reconciled = [d for d in world.decisions(Action.HOLD) if d.reason is Reason.RECONCILED]
    assert (reconciled[-1].config_before, reconciled[-1].config_after) == (DEFAULT, OTHER)
    assert world.store.state("m").incumbent == OTHER


async def test_stopped_in_the_middle_of_a_switch_the_next_start_finds_out(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.switch_seconds = 100
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: node.state == "switching")
    await world.stop()
    node.put_in_force(GOOD, 1)
    node.state, node.switch_seconds = "serving", 0.0
    await world.start(policy=ScriptedPolicy(stay))
    await world.until(lambda: world.status().last_known_good == GOOD)
    assert world.store.state("m").incumbent == GOOD


async def test_switches_of_the_last_hour_still_count(world):
    world.add(SimulatedNode(world.clock, lambda config, rate: 0.1))
    restless = ScriptedPolicy(in_turn(GOOD, OTHER, ServingConfig(instances=2), ServingConfig(instances=4)))
    await world.start(policy=restless, max_switches_per_hour=3, reserved_switches=0)
    await world.until(lambda: world.status().switches_left == 0)
    await restart(world)
    await world.run_for(30)
    assert world.status().switches_left == 0
    assert world.status().hold_reason is Reason.SWITCH_BUDGET_SPENT
    await restart(world, max_switches_per_hour=5, reserved_switches=0)
    await world.run_for(1)
    assert world.status().switches_left == 2


async def test_the_newest_decision_is_shown_from_the_start(world):
    world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)
    await restart(world)
    await world.run_for(1)
    assert world.status().last_decision.action is Action.VERIFY


async def test_stopping_twice_and_starting_after_nothing_does_no_harm(world):
    world.add(SimulatedNode(world.clock, only_good))
    supervisor = await world.start(policy=ScriptedPolicy(stay))
    await supervisor.stop()
    await supervisor.stop()
    assert supervisor.ready()[0] is False
