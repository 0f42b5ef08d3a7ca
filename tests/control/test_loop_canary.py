"""One of several server processes tries a configuration out before the others follow."""

from __future__ import annotations

import pytest

from service.control.settings import LoopSettings
from service.domain.decision import Action, Decision, Intent, Mode, Reason
from service.domain.serving_config import ServingConfig
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, World, in_turn, stay

TWO = ServingConfig(instances=2)
GOOD = ServingConfig(enable_batching=True, max_batch_size=16, instances=2)
BAD = ServingConfig(enable_batching=True, max_batch_size=2, instances=2)
MEDIANS = {TWO: 0.02, GOOD: 0.008, BAD: 0.4}


def trying(world: World, *, rate: float = 200.0, config: ServingConfig = TWO) -> SimulatedNode:
    """A node that can have one of its two processes try something out."""
    node = world.add(SimulatedNode(world.clock, lambda config, rate: MEDIANS[config], rate=rate, config=config))
    node.tries_out = True
    return node


def held(world: World, reason: Reason) -> list[Decision]:
    return [decision for decision in world.decisions(Action.HOLD) if decision.reason is reason]


async def begun(world: World) -> None:
    """A trial is under way, and with so few requests that it will be for long."""
    await world.until(lambda: bool(held(world, Reason.CANARY)))
    world.nodes["m"].rate = 2.0


async def test_what_did_no_worse_is_followed_by_the_rest(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: bool(held(world, Reason.CANARY)))
    assert (node.config, world.status().config, world.status().hold_reason) == (TWO, TWO, Reason.CANARY)
    await world.until(lambda: world.decisions(Action.VERIFY) != [])
    assert (node.config, node.trials, node.canary) == (GOOD, [GOOD], None)
    (applied,) = world.decisions(Action.APPLY)
    assert "no worse" in applied.explanation
    assert applied.inputs["canary"]["canary"]["succeeded"] > 0
    assert world.status().last_known_good == GOOD


async def test_what_did_worse_is_withdrawn_and_not_tried_again_and_was_never_in_force(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(BAD), Intent.EXPLORE))
    await world.until(lambda: bool(held(world, Reason.CANARY_WORSE)))
    (withdrawn,) = held(world, Reason.CANARY_WORSE)
    assert "is withdrawn" in withdrawn.explanation
    assert BAD in world.status().quarantine
    assert world.status().switches_left == LoopSettings().max_switches_per_hour - 1
    await world.run_for(60)
    assert (node.config, node.canary, node.trials) == (TWO, None, [BAD])
    assert world.decisions(Action.APPLY, Action.ROLLBACK) == []


async def test_what_answers_nothing_is_withdrawn(world):
    node = trying(world)
    node.canary_answers = False
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: bool(held(world, Reason.CANARY_WORSE)))
    assert "answered 0 requests" in held(world, Reason.CANARY_WORSE)[0].explanation
    assert node.config == TWO


async def test_a_trial_that_the_node_had_to_end_is_not_begun_again(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), canary_seconds=300)
    await begun(world)
    node.end_trial("its process ended by itself: out of memory")
    await world.until(lambda: bool(held(world, Reason.CANARY_WORSE)))
    assert "out of memory" in held(world, Reason.CANARY_WORSE)[0].explanation
    assert GOOD in world.status().quarantine


@pytest.mark.parametrize("gone", ["died", "forgotten"])
async def test_the_rest_does_not_follow_a_canary_that_is_gone_since_the_node_was_last_looked_at(world, gone):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), window_seconds=20, agent_read_interval_seconds=600)
    await world.until(lambda: bool(held(world, Reason.CANARY)))
    await world.run_for(10)
    if gone == "died":
        node.end_trial("its process ended by itself: out of memory")
    else:
        node.canary = None
    ended = Reason.CANARY_WORSE if gone == "died" else Reason.APPLY_FAILED
    await world.until(lambda: bool(held(world, ended)))
    assert (node.config, world.decisions(Action.APPLY)) == (TWO, [])
    assert (GOOD in world.status().quarantine) is (gone == "died")


async def test_an_agent_that_does_not_answer_before_the_rest_is_to_follow_is_waited_for(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), window_seconds=20, agent_read_interval_seconds=600)
    await world.until(lambda: bool(held(world, Reason.CANARY)))
    node.faults["read"] = "down"
    await world.until(lambda: bool(held(world, Reason.AGENT_UNREACHABLE)))
    assert (node.config, node.canary is not None) == (TWO, True)
    node.faults.clear()
    await world.until(lambda: node.config == GOOD)


async def test_a_few_requests_decide_when_the_time_is_over(world):
    node = trying(world, rate=30)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), canary_seconds=8)
    await world.until(lambda: node.config == GOOD)
    assert "no harm could be shown" in world.decisions(Action.APPLY)[0].explanation


async def test_without_requests_it_is_withdrawn_and_may_be_tried_again(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), min_requests=300)
    await world.until(lambda: node.trials != [])
    node.rate = 0.001
    await world.until(lambda: bool(held(world, Reason.NO_TRAFFIC)))
    assert (node.config, node.canary) == (TWO, None)
    assert world.status().quarantine == {}


@pytest.mark.parametrize("settings", [{"canary": False}, {}], ids=["switched off", "not possible"])
async def test_without_trials_the_whole_node_switches_at_once(world, settings):
    node = trying(world)
    node.tries_out = bool(settings)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), **settings)
    await world.until(lambda: node.config == GOOD)
    assert node.trials == []


async def test_another_number_of_processes_and_the_way_back_are_not_tried_out(world):
    three = GOOD.with_values(instances=3)
    MEDIANS[three] = 0.4
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD, three), Intent.EXPLORE))
    await world.until(lambda: world.decisions(Action.ROLLBACK) != [])
    assert (node.trials, node.config) == ([GOOD], GOOD)


@pytest.mark.parametrize("stop", ["mode", "kill switch", "metrics"])
async def test_whoever_says_stop_or_sees_nothing_has_it_withdrawn(world, stop):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), canary_seconds=300)
    await begun(world)
    if stop == "mode":
        await world.supervisor.set_mode("m", Mode.OFF)
    elif stop == "kill switch":
        await world.supervisor.turn_kill_switch(on=True)
    else:
        node.faults["metrics"] = "error"
    await world.until(lambda: node.canary is None)
    assert (node.config, world.decisions(Action.APPLY)) == (TWO, [])


async def test_what_a_person_sets_meanwhile_wins(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), canary_seconds=300)
    await begun(world)
    await world.supervisor.set_config("m", BAD)
    assert (node.config, node.canary, node.trials) == (BAD, None, [GOOD])


async def test_a_service_that_is_started_anew_withdraws_what_it_had_tried_out(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), canary_seconds=300)
    await begun(world)
    await world.stop()
    await world.start(policy=ScriptedPolicy(stay))
    await world.until(lambda: node.canary is None)
    assert node.config == TWO
    assert "started anew" in held(world, Reason.CANARY)[-1].explanation


async def test_what_somebody_else_has_tried_out_is_left_alone_and_nothing_is_changed_meanwhile(world):
    node = trying(world)
    node.canary = (1, BAD)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.run_for(30)
    assert node.canary == (1, BAD)
    assert "somebody else" in (world.status().hold_explanation or "")
    node.canary = None
    await world.until(lambda: node.config == GOOD)


async def test_an_order_without_an_answer_is_withdrawn_once_the_node_is_found_trying(world):
    node = trying(world)
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: world.status().judged is not None or node.trials != [], 20)
    node.faults["order"] = "lost answer"
    await world.until(lambda: node.trials != [])
    node.faults.clear()
    await world.until(lambda: bool(held(world, Reason.CANARY)) and node.canary is None)
    await world.until(lambda: node.config == GOOD)


async def test_what_was_clearly_worse_is_still_gone_back_from_after_a_long_trial_of_a_third_in_vain(world):
    one, worse = ServingConfig(), ServingConfig(instances=3)
    third = worse.with_values(enable_batching=True)
    medians = {one: 0.1, worse: 0.3, third: 0.1}
    node = world.add(SimulatedNode(world.clock, lambda config, rate: medians[config], config=one))
    node.tries_out = True

    def choose(workload, incumbent, explore):
        if incumbent == one:
            return worse  # another number of processes, so without a trial
        return third if node.trials == [] else incumbent

    await world.start(policy=ScriptedPolicy(choose, Intent.EXPLORE), verify_timeout_seconds=20, canary_seconds=40)
    await world.until(lambda: node.trials != [])
    node.rate = 0.001
    await world.until(lambda: bool(held(world, Reason.NO_TRAFFIC)))
    node.rate = 100.0
    await world.until(lambda: world.decisions(Action.ROLLBACK) != [])
    assert node.config == one
