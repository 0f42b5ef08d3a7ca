"""A new configuration is on probation: kept, rolled back, or given up for a third."""

from __future__ import annotations

from dataclasses import replace

from service.domain.decision import Action, Intent, Reason
from service.domain.serving_config import ServingConfig
from service.domain.window import SloVerdict
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, in_turn, stay

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)
BAD = ServingConfig(enable_batching=True, max_batch_size=2)
WORSE = ServingConfig(enable_batching=True, max_batch_size=4)
MANY = [ServingConfig(enable_batching=True, max_batch_size=size) for size in (3, 5, 6, 7, 8, 9, 10)]


def landscape(**medians: float):
    """Median latency in seconds by the names above."""
    table = {globals()[name]: value for name, value in medians.items()}
    return lambda config, rate: table[config]


async def test_what_is_better_is_kept_and_becomes_the_last_known_good(world):
    world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.1, GOOD=0.008)))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)
    (verified,) = world.decisions(Action.VERIFY)
    assert verified.reason is Reason.VERIFIED
    assert world.status().last_known_good == GOOD
    assert world.store.state("m").last_known_good == GOOD
    assert not world.status().verifying


async def test_what_breaks_the_objective_is_rolled_back_to_what_met_it(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD), Intent.EXPLORE))
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    (rolled_back,) = world.decisions(Action.ROLLBACK)
    assert rolled_back.reason is Reason.WORSE_THAN_BEFORE
    assert (rolled_back.config_before, rolled_back.config_after) == (BAD, DEFAULT)
    assert node.config == DEFAULT
    assert world.status().last_known_good == DEFAULT
    await world.until(lambda: world.status().verdict is SloVerdict.MET)


async def test_a_violation_that_is_certain_is_not_waited_out(world):
    world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1), rate=400))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), window_seconds=20, blanking_seconds=1)
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    applied, rolled_back = world.decisions(Action.APPLY, Action.ROLLBACK)
    assert rolled_back.decided_at - applied.decided_at < 5  # of simulated time; the window is 20


async def test_what_is_clearly_slower_is_rolled_back_though_it_meets_the_objective(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.016)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)))
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    assert node.config == DEFAULT
    assert world.status().last_known_good == DEFAULT


async def test_what_is_about_as_good_is_kept(world):
    world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.0080, BAD=0.0082)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)))
    await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)
    assert world.decisions(Action.ROLLBACK) == []


async def test_from_bad_to_worse_the_search_goes_on_without_returning(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.1, WORSE=0.3, GOOD=0.008)))
    await world.start(policy=ScriptedPolicy(in_turn(WORSE, GOOD), Intent.EXPLORE))
    await world.until(lambda: world.status().last_known_good == GOOD)
    assert [config for _, config in node.orders] == [WORSE, GOOD]


async def test_from_bad_to_worse_it_returns_when_there_is_nothing_else_to_try(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.1, WORSE=0.3)))
    await world.start(policy=ScriptedPolicy(in_turn(WORSE), Intent.EXPLORE), max_switches_per_hour=6)
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    assert node.config == DEFAULT


async def test_after_two_failures_it_returns_to_the_best_of_the_three_though_there_is_more_to_try(world):
    third, fourth = (ServingConfig(enable_batching=True, max_batch_size=size) for size in (8, 16))
    table = {DEFAULT: 0.1, WORSE: 0.3, third: 0.3, fourth: 0.3}
    node = world.add(SimulatedNode(world.clock, lambda config, rate: table[config]))
    await world.start(policy=ScriptedPolicy(in_turn(WORSE, third, fourth), Intent.EXPLORE))
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    assert [config for _, config in node.orders] == [WORSE, third, DEFAULT]
    assert "so was the trial before" in world.decisions(Action.ROLLBACK)[0].explanation


async def test_a_backlog_from_before_is_not_held_against_the_new_configuration(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.1, GOOD=0.008), rate=400))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD, BAD), Intent.EXPLORE), certainty_seconds=20)
    await world.until(lambda: node.config == GOOD)
    node.backlog_seconds, node.drained_per_second = 3.0, 0.6  # five seconds to drain, four after the blanking
    await world.until(lambda: world.status().verdict is SloVerdict.MET, within=30)
    assert [config for _, config in node.orders] == [GOOD]


async def test_requests_that_are_refused_count_as_worse(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.004)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)))
    await world.until(lambda: node.config == BAD)
    node.loss = 0.2
    await world.until(lambda: node.config == DEFAULT)
    assert world.decisions(Action.ROLLBACK)[0].reason is Reason.WORSE_THAN_BEFORE


class Unsure(ScriptedPolicy):
    """Knows nothing of what it does not recommend."""

    def predict(self, workload, config, slo):
        return replace(super().predict(workload, config, slo), predicted_tail=None)


def good_until_the_load_grows(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == DEFAULT or rate < 150 else 0.1


async def test_under_another_load_a_broken_promise_goes_back_to_what_is_sure_to_keep_it(world):
    node = world.add(SimulatedNode(world.clock, good_until_the_load_grows))
    await world.start(policy=ScriptedPolicy(in_turn(BAD, GOOD), Intent.EXPLORE))
    await world.until(lambda: node.config == BAD)
    node.rate = 400
    await world.until(lambda: node.config == DEFAULT, within=30)
    (rollback,) = world.decisions(Action.ROLLBACK)
    assert "expected to meet the objective under this load too" in rollback.explanation


async def test_another_load_alone_is_no_ground_for_a_rollback(world):
    node = world.add(SimulatedNode(world.clock, good_until_the_load_grows))
    await world.start(policy=Unsure(in_turn(BAD, GOOD), Intent.EXPLORE))
    await world.until(lambda: node.config == BAD)
    node.rate = 400
    await world.until(lambda: node.config == GOOD, within=30)
    (verified, *_) = world.decisions(Action.VERIFY)
    assert "not comparable" in verified.explanation
    assert world.decisions(Action.ROLLBACK) == []


async def test_without_traffic_it_is_kept_unverified(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.1, GOOD=0.008)))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)), verify_timeout_seconds=60)
    await world.until(lambda: node.config == GOOD)
    node.rate = 0
    await world.run_for(59)
    assert world.status().verifying
    await world.run_for(10)
    assert not world.status().verifying
    assert world.status().hold_reason is Reason.NO_TRAFFIC
    assert world.status().last_known_good is None
    assert world.decisions(Action.VERIFY, Action.ROLLBACK) == []


async def test_a_switch_that_takes_longer_than_its_verification_may_is_verified_all_the_same(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    node.switch_seconds = 90
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), verify_timeout_seconds=60)
    await world.until(lambda: node.config == BAD)
    node.switch_seconds = 0.0
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    assert node.config == DEFAULT
    assert world.decisions(Action.ROLLBACK)[0].reason is Reason.WORSE_THAN_BEFORE


async def test_what_nobody_lived_to_verify_is_verified_however_long_the_node_was_not_reached_after(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), verify_timeout_seconds=60)
    await world.until(lambda: len(world.decisions(Action.APPLY)) == 1)
    await world.stop()
    node.faults |= {"read": "down", "metrics": "down"}
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(90)
    node.faults.clear()
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    assert node.config == DEFAULT


async def test_a_rollback_that_fails_is_tried_again(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), quarantine_seconds=0)
    await world.until(lambda: node.config == BAD)
    node.faults["order"] = "timeout"
    await world.run_for(20)
    assert node.config == BAD
    assert world.status().hold_reason is Reason.APPLY_FAILED
    del node.faults["order"]
    await world.until(lambda: node.config == DEFAULT, within=20)


async def test_a_way_back_that_the_node_refuses_for_a_while_is_not_given_up(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), verify_timeout_seconds=10)
    await world.until(lambda: node.config == BAD)
    node.faults["order"] = "infeasible"
    await world.run_for(100)
    assert (node.config, world.status().verifying, world.status().quarantine) == (BAD, True, {})
    refused = [d for d in world.decisions(Action.HOLD) if d.reason is Reason.INFEASIBLE]
    assert "it is what is returned to, so it is not given up, and asked for again in 15 s" in refused[0].explanation
    assert len(node.orders) == 1 + len(refused) < 6  # with pauses, not with every window
    waiting = [d for d in world.decisions(Action.HOLD) if "way_back" in d.inputs.get("gates", {})]
    assert "asked again later" in waiting[0].inputs["gates"]["way_back"]
    del node.faults["order"]
    await world.until(lambda: node.config == DEFAULT)
    assert world.decisions(Action.ROLLBACK)[0].reason is Reason.WORSE_THAN_BEFORE


async def test_while_the_node_refuses_to_go_back_something_else_is_tried(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1, GOOD=0.008)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD, GOOD), Intent.EXPLORE))
    await world.until(lambda: node.config == BAD)
    node.infeasible.add(DEFAULT)
    await world.until(lambda: world.status().last_known_good == GOOD)
    assert [config for _, config in node.orders] == [BAD, DEFAULT, GOOD]


async def test_a_way_back_that_had_no_answer_for_longer_than_verification_may_take_is_still_taken(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), verify_timeout_seconds=20)
    await world.until(lambda: node.config == BAD)
    node.faults |= {"order": "down", "read": "down", "metrics": "down"}
    await world.run_for(60)
    node.faults.clear()
    await world.until(lambda: node.config == DEFAULT)


async def test_the_switch_budget_never_stops_a_rollback(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, BAD=0.1)))
    await world.start(policy=ScriptedPolicy(in_turn(BAD)), max_switches_per_hour=1, reserved_switches=0)
    await world.until(lambda: len(world.decisions(Action.ROLLBACK)) == 1)
    assert node.config == DEFAULT
    assert world.status().switches_left == 0
    await world.run_for(120)
    assert world.status().hold_reason is Reason.SWITCH_BUDGET_SPENT
    assert len(node.orders) == 2


async def test_the_last_switches_are_kept_for_what_is_known(world):
    explore_in_turn = in_turn(*MANY)

    def never_satisfied(workload, incumbent, explore):
        return explore_in_turn(workload, incumbent, explore) if explore else GOOD

    node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.1))
    await world.start(
        policy=ScriptedPolicy(never_satisfied, Intent.EXPLORE), max_switches_per_hour=6, reserved_switches=2
    )
    await world.run_for(300)
    assert GOOD not in [config for _, config in node.orders]  # it is named as an exploration here
    assert len(node.orders) == 4
    assert world.status().hold_reason is Reason.SWITCH_BUDGET_SPENT
    assert world.status().switches_left == 2


async def test_the_budget_comes_back_after_an_hour(world):
    node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.1))
    await world.start(
        policy=ScriptedPolicy(in_turn(*MANY)),
        max_switches_per_hour=2,
        reserved_switches=0,
        scrape_interval_seconds=5,
        metrics_stale_seconds=20,
        window_seconds=30,
    )
    await world.run_for(600)
    assert len(node.orders) == 2
    await world.run_for(3600)
    assert len(node.orders) == 4


async def test_it_stays_when_the_policy_stays(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.1)))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(60)
    assert node.orders == []
    assert world.status().hold_reason is Reason.INCUMBENT_BEST


async def test_a_disturbance_that_passes_changes_nothing(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, GOOD=0.008)))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD), predicted=0.04), min_dwell_seconds=3600)
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    await world.run_for(2)
    node.backlog_seconds, node.drained_per_second = 1.0, 0.0
    await world.until(lambda: world.status().verdict is SloVerdict.VIOLATED)
    node.backlog_seconds = 0.0
    await world.run_for(60)
    assert node.orders == []


async def test_a_disturbance_that_lasts_is_acted_on(world):
    node = world.add(SimulatedNode(world.clock, landscape(DEFAULT=0.008, GOOD=0.008)))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD), predicted=0.04), min_dwell_seconds=3600)
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    node.backlog_seconds, node.drained_per_second = 1.0, 0.0
    await world.until(lambda: node.config == GOOD, within=20)
    assert "waiting whether the violation lasts" in {
        d.explanation.split(": ")[-1] for d in world.decisions(Action.HOLD)
    }
