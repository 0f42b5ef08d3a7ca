"""What keeps hands off: kill switch, maintenance, learning, error budget, safe region, spikes; and after a restart."""

from __future__ import annotations

import pytest

from service.control.error_budget import Burn
from service.control.safe_region import SafeRegion
from service.domain.decision import Action, Intent, Mode, Reason
from service.domain.errors import LeaseHeldError, StoreError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, always, in_turn, stay

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)
OTHER = ServingConfig(enable_batching=True, max_batch_size=4)

#: The burn rates' stretches: 5 min become 6 s, 1 h becomes 72 s.
QUICK = 0.02


def only_good(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == GOOD else 0.1


async def restart(world, **how) -> None:
    await world.stop()
    await world.start(**how)


def reasons(world) -> set[Reason]:
    return {decision.reason for decision in world.decisions()}


class TestKillSwitch:
    async def test_nothing_is_done_while_it_is_on_not_even_after_a_restart(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(always(GOOD)))
        await world.supervisor.turn_kill_switch(on=True)
        await world.run_for(40)
        await restart(world)
        await world.run_for(40)
        assert node.orders == []
        assert world.supervisor.killed
        assert world.status().hold_reason is Reason.KILL_SWITCH
        await world.supervisor.turn_kill_switch(on=False)
        await world.until(lambda: node.config == GOOD, within=60)

    async def test_it_stops_a_change_that_the_policy_thinks_about(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))

        def choose(workload, incumbent, explore):
            world.supervisor._kill_switch.on = True  # as turn() does before anything else
            return GOOD

        await world.start(policy=ScriptedPolicy(choose))
        await world.run_for(60)
        assert node.orders == []

    async def test_it_stops_a_rollback_too(self, world):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.1 if config == OTHER else 0.008))
        await world.start(policy=ScriptedPolicy(in_turn(OTHER)))
        await world.until(lambda: node.config == OTHER)
        await world.supervisor.turn_kill_switch(on=True)
        await world.run_for(60)
        assert node.config == OTHER
        assert "not undone, because the kill switch is on" in " ".join(d.explanation for d in world.decisions())

    async def test_what_a_person_commands_is_done(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(stay))
        await world.run_for(1)
        await world.supervisor.turn_kill_switch(on=True)
        await world.supervisor.set_config("m", OTHER)
        assert node.config == OTHER

    async def test_on_takes_effect_even_if_it_cannot_be_remembered_and_off_does_not(self, world, monkeypatch):
        world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(stay))

        def broken(*_):
            raise StoreError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "put_mode", broken)
            with pytest.raises(StoreError):
                await world.supervisor.turn_kill_switch(on=True)
            assert world.supervisor.killed
            with pytest.raises(StoreError):
                await world.supervisor.turn_kill_switch(on=False)
        assert world.supervisor.killed


async def test_nothing_is_touched_in_a_maintenance_window(world):
    # The clock begins on a Tuesday at 22:13:20 UTC.
    node = world.add(SimulatedNode(world.clock, only_good), maintenance=("daily 22:00-22:15",))
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(95)
    assert node.orders == []
    assert world.status().hold_reason is Reason.MAINTENANCE
    assert world.status().permission.maintenance == "daily 22:00-22:15"
    await world.until(lambda: node.config == GOOD, within=40)


class TestLearningPeriod:
    async def test_it_says_what_it_would_do_until_it_has_seen_enough(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(always(GOOD)), learning_windows=6, learning_seconds=30)
        await world.until(lambda: len(world.decisions(Action.RECOMMEND)) == 1)
        assert node.orders == []
        assert "windows" in world.status().permission.learning
        await world.until(lambda: node.config == GOOD, within=90)
        assert world.status().observations >= 6
        assert world.status().permission.learning is None

    async def test_windows_of_an_earlier_run_count_and_one_that_has_acted_is_over(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(in_turn(GOOD)), learning_windows=3)
        await world.until(lambda: node.config == GOOD)
        await restart(world, learning_windows=1000)
        await world.run_for(1)
        assert world.status().permission.learning is None

    async def test_a_person_may_end_it(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(always(GOOD)), learning_windows=1000)
        await world.run_for(20)
        assert node.orders == []
        decision = await world.supervisor.skip_learning("m")
        assert decision.reason is Reason.USER
        await world.until(lambda: node.config == GOOD, within=60)


class TestErrorBudget:
    async def test_a_fast_burn_leads_back_to_the_last_known_good_and_freezes(self, world):
        node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
        await world.start(policy=ScriptedPolicy(stay), burn_window_scale=QUICK, min_dwell_seconds=0)
        await world.until(lambda: world.status().last_known_good == GOOD)
        node.put_in_force(OTHER)
        await world.until(lambda: node.config == GOOD, within=60)
        (rollback,) = world.decisions(Action.ROLLBACK)
        assert rollback.reason is Reason.BUDGET_BURNING
        assert rollback.inputs["error_budget"]["burn"] == "fast"
        assert world.status().frozen_seconds > 0

    async def test_a_last_known_good_that_the_node_refuses_for_a_while_is_returned_to_later(self, world):
        node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
        await world.start(policy=ScriptedPolicy(stay), burn_window_scale=QUICK, min_dwell_seconds=0)
        await world.until(lambda: world.status().last_known_good == GOOD)
        node.infeasible.add(GOOD)
        node.put_in_force(OTHER)
        await world.until(lambda: len(node.orders) == 2, within=90)
        assert world.status().quarantine == {}
        node.infeasible.clear()
        await world.until(lambda: node.config == GOOD, within=90)

    async def test_while_frozen_nothing_unknown_is_tried(self, world):
        node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
        policy = ScriptedPolicy(stay, Intent.EXPLORE)
        await world.start(policy=policy, burn_window_scale=QUICK, min_dwell_seconds=0, freeze_seconds=100)
        await world.until(lambda: world.status().last_known_good == GOOD)
        node.put_in_force(OTHER)
        await world.until(lambda: node.config == GOOD, within=60)
        policy._choose = always(ServingConfig(enable_batching=True, max_batch_size=8))
        orders = len(node.orders)
        await world.run_for(60)
        assert len(node.orders) == orders
        assert Reason.FROZEN in reasons(world)
        await world.until(lambda: len(node.orders) > orders, within=200)

    async def test_where_the_last_known_good_itself_burns_something_better_is_looked_for(self, world):
        def grown(config: ServingConfig, rate: float) -> float:
            return 0.008 if rate < 150 or config == OTHER else 0.2

        node = world.add(SimulatedNode(world.clock, grown, config=GOOD))
        policy = ScriptedPolicy(stay, Intent.EXPLORE)
        await world.start(policy=policy, burn_window_scale=QUICK)
        await world.until(lambda: world.status().last_known_good == GOOD)
        node.rate = 300.0
        await world.until(lambda: world.status().error_budget.burn is Burn.FAST, within=60)
        policy._choose = always(OTHER)
        await world.until(lambda: node.config == OTHER, within=60)
        assert world.decisions(Action.ROLLBACK) == []

    async def test_it_survives_a_restart(self, world):
        world.add(SimulatedNode(world.clock, only_good), mode=Mode.OFF)
        await world.start(error_budget_period_seconds=3600)
        await world.run_for(120)
        before = world.status().error_budget
        await restart(world)
        await world.run_for(1)
        after = world.status().error_budget
        assert before.remaining_ratio < 0
        assert after.remaining_ratio == pytest.approx(before.remaining_ratio, rel=0.05)
        assert after.rates == pytest.approx(before.rates, rel=0.05)

    async def test_another_objective_is_counted_anew_from_the_same_windows(self, world):
        world.add(SimulatedNode(world.clock, only_good), mode=Mode.OFF)
        await world.start(error_budget_period_seconds=3600)
        await world.run_for(60)
        await world.supervisor.set_slo("m", Slo(5.0))
        assert world.status().error_budget.remaining_ratio == pytest.approx(1.0)

    async def test_it_is_a_metric(self, world):
        world.add(SimulatedNode(world.clock, only_good), mode=Mode.OFF)
        await world.start()
        await world.run_for(30)
        value = world.registry.get_sample_value("regulus_error_budget_remaining_ratio", {"model": "m"})
        assert value is not None
        assert value < 1
        rate = world.registry.get_sample_value("regulus_error_budget_burn_rate", {"model": "m", "window": "5m"})
        assert rate is not None
        assert rate > 0


async def test_an_experiment_goes_no_farther_than_the_safe_region_but_on_the_way(world):
    far = ServingConfig(
        enable_batching=True, max_batch_size=128, batch_timeout_micros=10_000, num_batch_threads=4, instances=2,
        max_enqueued_batches=32,
    )  # fmt: skip
    node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.008))
    await world.start(policy=ScriptedPolicy(always(far), Intent.EXPLORE), safety_factor=0.6)
    await world.until(lambda: len(world.decisions(Action.APPLY)) == 1)
    (applied,) = world.decisions(Action.APPLY)
    space = world.supervisor._loops["m"]._learner.space
    assert node.config != far
    assert 0 < SafeRegion(space, DEFAULT, 0.6).distance(node.config) <= 0.4
    assert applied.inputs["candidates"][0]["config"] == far.to_dict()
    assert "safety factor" in applied.inputs["candidates"][0]["refused"]


async def test_two_configurations_that_do_as_well_never_take_turns(world):
    node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.1))
    flip = ScriptedPolicy(lambda workload, incumbent, explore: OTHER if incumbent == GOOD else GOOD)
    await world.start(policy=flip, min_dwell_seconds=0)
    await world.run_for(300)
    assert [config for _, config in node.orders] == [GOOD, OTHER]


class TestSpikes:
    async def test_what_a_switch_costs_is_measured_and_remembered(self, world):
        node = world.add(Hiccup(world.clock, lambda config, rate: 0.008))
        await world.start(policy=ScriptedPolicy(in_turn(OTHER)), min_dwell_seconds=0)
        await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)
        cost = world.status().spike_seconds
        assert 1.0 <= cost <= 8.0
        assert world.decisions(Action.VERIFY)[0].inputs["spike_seconds"] == cost
        await restart(world)
        await world.run_for(1)
        assert world.status().spike_seconds == cost
        assert node.config == OTHER

    async def test_once_they_cost_enough_nothing_more_is_tried(self, world):
        node = world.add(Hiccup(world.clock, lambda config, rate: 0.008))
        policy = ScriptedPolicy(in_turn(OTHER, GOOD))
        await world.start(policy=policy, min_dwell_seconds=0, max_spike_seconds_per_hour=1)
        await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)
        await world.run_for(60)
        assert node.config == OTHER
        assert world.status().hold_reason is Reason.SWITCH_BUDGET_SPENT


class Hiccup(SimulatedNode):
    """A switch leaves two seconds' backlog."""

    def put_in_force(self, config: ServingConfig, generation: int | None = None) -> None:
        super().put_in_force(config, generation)
        self.backlog_seconds = 2.0


class TestNothingIsForgottenByARestart:
    async def test_quarantine(self, world):
        node = world.add(SimulatedNode(world.clock, only_good))
        node.faults["order"] = "timeout"
        await world.start(policy=ScriptedPolicy(always(GOOD)), quarantine_seconds=300)
        await world.until(lambda: len(node.orders) == 1)
        await world.run_for(2)
        await restart(world)
        node.faults.clear()
        await world.run_for(120)
        assert list(world.status().quarantine) == [GOOD]
        assert len(node.orders) == 1
        await world.until(lambda: node.config == GOOD, within=300)

    async def test_the_verification_of_a_switch(self, world):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.1 if config == OTHER else 0.008))
        await world.start(policy=ScriptedPolicy(in_turn(OTHER)))
        await world.until(lambda: node.config == OTHER)
        await restart(world, policy=ScriptedPolicy(stay))
        await world.until(lambda: node.config == DEFAULT, within=60)
        assert world.decisions(Action.ROLLBACK)[0].reason is Reason.WORSE_THAN_BEFORE

    async def test_the_dwell(self, world):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.008))
        await world.start(policy=ScriptedPolicy(in_turn(OTHER, GOOD)), min_dwell_seconds=100)
        await world.until(lambda: node.config == OTHER)
        switched = world.clock.monotonic()
        await world.run_for(20)
        await restart(world)
        await world.until(lambda: node.config == GOOD, within=200)
        assert world.clock.monotonic() - switched >= 100

    async def test_a_switch_that_nobody_lived_to_write_down(self, world, monkeypatch):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.1 if config == OTHER else 0.008))
        written = world.store.add_decision

        def dies_after_the_switch(decision):
            if decision.action is Action.APPLY:
                raise StoreError("killed")
            return written(decision)

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "add_decision", dies_after_the_switch)
            await world.start(policy=ScriptedPolicy(in_turn(OTHER)))
            await world.until(lambda: node.config == OTHER)
            await world.stop()
        await world.start(policy=ScriptedPolicy(stay))
        await world.until(lambda: len(world.decisions(Action.APPLY)) == 1)
        assert "found done" in world.decisions(Action.APPLY)[0].explanation
        await world.until(lambda: node.config == DEFAULT, within=60)


async def test_another_control_services_lease_is_a_reason(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(always(GOOD)))

    async def held(config, generation):
        raise LeaseHeldError("other-host", 0.0, world.clock.time() + 30)

    world.supervisor._loops["m"]._node._backend.apply = held
    await world.until(lambda: world.status().hold_reason is Reason.LEASE_HELD)
    assert "other-host" in world.status().hold_explanation
    assert node.config == DEFAULT


async def test_trouble_with_the_history_is_a_reason_and_is_written_down_once_it_can_be(world, monkeypatch):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(1)

    def broken(*_):
        raise StoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "add_observation", broken)
        await world.until(lambda: world.status().hold_reason is Reason.STORE_UNAVAILABLE, within=30)
        assert node.orders == []
    await world.until(lambda: node.config == GOOD, within=60)
    assert len([d for d in world.decisions(Action.HOLD) if d.reason is Reason.STORE_UNAVAILABLE]) == 1


async def test_every_decision_tells_what_went_into_it(world):
    world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: len(world.decisions(Action.APPLY)) == 1)
    (applied,) = world.decisions(Action.APPLY)
    inputs = applied.inputs
    assert inputs["gates"].keys() >= {"mode_allows_choosing", "near_the_known_good", "kill_switch_off"}
    assert inputs["workload"]["rate_per_second"] == pytest.approx(100, rel=0.2)
    assert inputs["tail"]["value"] > 0.05
    assert [one["config"] for one in inputs["candidates"]] == [GOOD.to_dict()]
    assert inputs["candidates"][0]["refused"] is None
