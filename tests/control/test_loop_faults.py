"""Whatever fails, the loop holds, says why, and goes on when it is over."""

from __future__ import annotations

import itertools

import pytest
from prometheus_client import generate_latest

from service.domain.decision import Action, Intent, Reason
from service.domain.errors import StoreError
from service.domain.serving_config import ServingConfig
from service.domain.window import SloVerdict
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, always, in_turn, stay

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)
OTHER = ServingConfig(enable_batching=True, max_batch_size=4)


def only_good(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == GOOD else 0.1


@pytest.mark.parametrize("fault", ["down", "hang", "garbage", "error"])
async def test_missing_metrics_never_cause_a_change(world, fault):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["metrics"] = fault
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(60)
    assert node.orders == []
    assert world.status().hold_reason is Reason.METRICS_MISSING
    assert world.status().problem
    del node.faults["metrics"]
    await world.until(lambda: node.config == GOOD, within=30)


async def test_metrics_that_vanish_later_are_missed_after_a_while(world):
    node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
    await world.start(policy=ScriptedPolicy(stay), metrics_stale_seconds=5)
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    node.faults["metrics"] = "down"
    await world.run_for(4)
    assert world.status().hold_reason is not Reason.METRICS_MISSING
    await world.run_for(3)
    assert world.status().hold_reason is Reason.METRICS_MISSING
    assert "no metrics for" in world.status().hold_explanation
    assert world.status().metrics_age_seconds > 5


async def test_a_model_that_the_page_does_not_name_is_not_steered(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node._page = lambda: "regulus_modelserver_generation 0\n"
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(60)
    assert node.orders == []
    assert world.status().hold_reason is Reason.NO_TRAFFIC


@pytest.mark.parametrize("fault", ["down", "hang", "garbage", "error"])
async def test_an_agent_that_does_not_answer_is_held_for_and_found_again(world, fault):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["read"] = fault
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(100)
    assert world.status().hold_reason is Reason.AGENT_UNREACHABLE
    assert not world.status().agent_reachable
    ready, lines = world.supervisor.ready()
    assert ready
    assert "agent at" in lines["m"]
    del node.faults["read"]
    await world.until(lambda: node.config == GOOD, within=60)
    assert world.status().agent_reachable
    assert world.supervisor.ready() == (True, {"m": "ok"})


async def test_an_agent_that_fails_is_asked_ever_more_rarely(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    asked = []
    describe = node.describe
    node.describe = lambda: asked.append(world.clock.monotonic()) or describe() | {"state": "on fire"}
    await world.start(policy=ScriptedPolicy(stay), max_backoff_seconds=20)
    await world.run_for(300)
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses == sorted(pauses)
    assert 19 <= pauses[-1] <= 21
    assert len(asked) < 30


async def test_an_outage_in_between_is_written_once_not_with_every_look(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(stay), hold_repeat_seconds=1000)
    await world.run_for(20)
    node.faults["read"] = "down"
    await world.run_for(200)
    unreachable = [d for d in world.decisions(Action.HOLD) if d.reason is Reason.AGENT_UNREACHABLE]
    assert len(unreachable) == 1
    assert unreachable[0].config_before == DEFAULT


async def test_what_the_node_refuses_is_not_suggested_again(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.infeasible.add(OTHER)
    policy = ScriptedPolicy(lambda workload, incumbent, explore: OTHER if explore else GOOD, Intent.EXPLORE)
    await world.start(policy=policy)
    await world.until(lambda: node.config == GOOD, within=30)
    assert [config for _, config in node.orders].count(OTHER) == 1
    refused = [d for d in world.decisions(Action.HOLD) if d.reason is Reason.INFEASIBLE]
    assert "max_batch_size" in refused[0].explanation
    assert OTHER in [config for _, config, _ in policy.observed]  # or it would name it for ever
    assert OTHER not in {stored.config for stored in world.store.observations("m")}


async def test_the_real_policy_finds_its_way_round_what_the_node_refuses(world):
    medians = {2: 0.07, 4: 0.04, 8: 0.012, 16: 0.01, 64: 0.015}
    node = world.add(SimulatedNode(world.clock, lambda config, rate: medians.get(config.max_batch_size, 0.1)))
    real_order = node._order

    async def order(raw, fault):
        raw_config = raw["config"]
        return await real_order(raw, "infeasible" if raw_config["max_batch_size"] in (32, 128) else fault)

    node._order = order
    await world.start()
    await world.until(lambda: world.status().verdict is SloVerdict.MET, within=200)
    assert node.config.max_batch_size in (8, 16, 64)


async def test_what_is_not_ready_in_time_rests_for_a_while(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["order"] = "timeout"
    await world.start(policy=ScriptedPolicy(always(GOOD)), quarantine_seconds=100)
    await world.run_for(90)
    assert len(node.orders) == 1
    assert node.config == DEFAULT
    assert world.status().config == DEFAULT
    del node.faults["order"]
    await world.until(lambda: node.config == GOOD, within=60)


async def test_somebody_who_was_faster_wins_and_is_noted(world):
    node = world.add(SimulatedNode(world.clock, only_good))

    def choose(workload, incumbent, explore):
        if node.generation == 0:
            node.put_in_force(OTHER, 7)  # while the policy is thinking
        return incumbent if incumbent == OTHER else GOOD

    await world.start(policy=ScriptedPolicy(choose))
    await world.until(lambda: world.status().config == OTHER)
    assert world.status().generation == 7
    outside = [d for d in world.decisions() if d.reason is Reason.CONFIG_CHANGED_OUTSIDE]
    assert (outside[0].config_before, outside[0].config_after) == (DEFAULT, OTHER)
    assert world.store.state("m").incumbent == OTHER


async def test_an_agent_that_always_finds_the_generation_stale_is_held_for(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["order"] = "conflict"
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(30)
    assert node.config == world.status().config == DEFAULT
    assert world.status().hold_reason is Reason.APPLY_FAILED


async def test_a_change_from_outside_is_noted_and_respected_for_the_dwell(world):
    node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
    await world.start(policy=ScriptedPolicy(always(GOOD)), min_dwell_seconds=40)
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    node.put_in_force(OTHER)
    await world.until(lambda: world.status().config == OTHER, within=10)
    await world.run_for(30)
    assert node.config == OTHER
    await world.until(lambda: node.config == GOOD, within=30)


async def test_a_server_that_started_anew_is_brought_back(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: world.status().last_known_good == GOOD)
    node.restart()
    await world.until(lambda: node.config == GOOD, within=20)
    noted = [d for d in world.decisions() if d.reason is Reason.CONFIG_CHANGED_OUTSIDE]
    assert "started anew" in noted[0].explanation


@pytest.mark.parametrize("tells_generation", [True, False])
async def test_a_window_is_not_held_against_a_configuration_that_was_changed_meanwhile(world, tells_generation):
    node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
    node.tells_generation = tells_generation
    policy = ScriptedPolicy(stay)
    await world.start(policy=policy, agent_read_interval_seconds=600)
    await world.run_for(4)
    node.put_in_force(OTHER)
    await world.run_for(30)
    measured = {
        config: [w.latency.quantile(0.5) for _, c, w in policy.observed if c == config] for config in (GOOD, OTHER)
    }
    assert all(median > 0.05 for median in measured[OTHER])
    assert all(median < 0.05 for median in measured[GOOD])
    assert measured[OTHER]


async def test_an_answer_that_is_lost_is_found_out_by_looking(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["order"] = "lost answer"
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: len(world.decisions(Action.APPLY)) == 1)
    assert node.config == GOOD
    assert len(node.orders) == 1
    (applied,) = world.decisions(Action.APPLY)
    assert (applied.config_before, applied.config_after, applied.generation) == (DEFAULT, GOOD, 1)
    await world.until(lambda: len(world.decisions(Action.VERIFY)) == 1)


async def test_an_order_that_never_arrived_is_not_believed(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["order"] = "down"
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(20)
    assert world.status().config == DEFAULT
    assert world.decisions(Action.APPLY) == []
    assert Reason.APPLY_FAILED in {d.reason for d in world.decisions(Action.HOLD)}


async def test_while_a_switch_of_unknown_outcome_is_under_way_nothing_else_is_ordered(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    node.faults["order"] = "down"
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: Reason.AGENT_UNREACHABLE in {d.reason for d in world.decisions(Action.HOLD)})
    node.state = "switching"
    del node.faults["order"]
    await world.run_for(30)
    assert node.orders == []
    assert "still switching" in world.status().hold_explanation
    node.put_in_force(GOOD, 1)
    node.state = "serving"
    await world.until(lambda: world.status().config == GOOD, within=60)
    assert len(world.decisions(Action.APPLY)) == 1


async def test_an_agent_that_puts_something_else_in_force_is_believed_about_what_is(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    put = node.put_in_force
    node.put_in_force = lambda config, generation=None: put(OTHER, generation)
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.run_for(60)
    assert world.status().config == OTHER
    assert world.decisions(Action.APPLY)[0].config_after == OTHER
    assert len(node.orders) == 1


class TestWhenTheHistoryCannotBeWritten:
    """Nothing is done that could not be remembered."""

    @pytest.fixture
    def broken_store(self, world, monkeypatch):
        """Makes the store fail; returns a function that repairs it."""

        def fail(*args, **kwargs):
            raise StoreError("disk full")

        def break_it(*methods: str):
            with_fault = pytest.MonkeyPatch()
            for method in methods:
                with_fault.setattr(world.store, method, fail)
            return with_fault.undo

        return break_it

    async def test_nothing_is_changed_and_it_is_said(self, world, broken_store):
        node = world.add(SimulatedNode(world.clock, only_good))
        repair = broken_store("add_observation", "add_decision", "put_incumbent", "put_last_known_good")
        await world.start(policy=ScriptedPolicy(always(GOOD)))
        await world.run_for(60)
        assert node.orders == []
        assert "disk full" in world.status().problem
        assert world.supervisor.ready()[1]["m"] == world.status().problem
        repair()
        await world.until(lambda: node.config == GOOD, within=60)
        assert world.status().problem is None

    async def test_nothing_starts_while_it_cannot_be_read(self, world, broken_store):
        node = world.add(SimulatedNode(world.clock, only_good))
        repair = broken_store("state")
        await world.start(policy=ScriptedPolicy(always(GOOD)))
        await world.run_for(20)
        assert node.orders == []
        ready, lines = world.supervisor.ready()
        assert not ready
        assert "disk full" in lines["m"]
        with pytest.raises(StoreError):
            await world.supervisor.set_config("m", GOOD)
        assert node.orders == []
        repair()
        await world.until(lambda: node.config == GOOD, within=60)

    async def test_what_was_done_is_written_as_soon_as_it_can_be(self, world, broken_store):
        node = world.add(SimulatedNode(world.clock, only_good))
        await world.start(policy=ScriptedPolicy(in_turn(GOOD, OTHER)))
        repairs = []
        put = node.put_in_force

        def put_and_break(config, generation=None):
            put(config, generation)
            repairs.append(broken_store("add_decision"))

        node.put_in_force = put_and_break
        await world.until(lambda: node.config == GOOD)
        await world.run_for(60)
        assert len(node.orders) == 1
        assert "disk full" in world.status().problem
        repairs[0]()
        node.put_in_force = put
        await world.run_for(40)
        assert world.decisions(Action.APPLY)[0].config_after == GOOD


async def test_a_policy_that_breaks_is_held_for_and_visible(world, logs):
    node = world.add(SimulatedNode(world.clock, only_good))
    broken = True

    def choose(workload, incumbent, explore):
        if broken:
            raise RuntimeError("matrix is singular")
        return GOOD

    await world.start(policy=ScriptedPolicy(choose))
    await world.run_for(40)
    assert "matrix is singular" in world.status().problem
    assert "matrix is singular" in world.supervisor.ready()[1]["m"]
    assert any(entry["log_level"] == "error" for entry in logs)
    broken = False
    await world.until(lambda: node.config == GOOD, within=60)
    assert world.status().problem is None


async def test_bounds_that_leave_nothing_are_told_and_nothing_is_done(world):
    node = world.add(SimulatedNode(world.clock, only_good), pinned={"instances": 60})
    await world.start()
    await world.run_for(20)
    assert node.orders == []
    assert world.status().hold_reason is Reason.INFEASIBLE
    assert "instances" in world.status().hold_explanation


async def test_our_own_metrics_tell_what_happened(world):
    node = world.add(SimulatedNode(world.clock, only_good))
    await world.start(policy=ScriptedPolicy(in_turn(GOOD)))
    await world.until(lambda: world.status().last_known_good == GOOD)
    node.faults["metrics"] = "down"
    await world.run_for(10)
    page = generate_latest(world.registry).decode()
    assert 'regulus_decisions_total{action="apply",model="m",reason="slo_violated"} 1.0' in page
    assert 'regulus_reconfigurations_total{kind="auto",model="m",outcome="ok"} 1.0' in page
    assert 'regulus_slo_latency_target_seconds{model="m"} 0.05' in page
    assert 'regulus_config_value{knob="max_batch_size",model="m"} 16.0' in page
    assert 'regulus_scrape_failures_total{model="m"}' in page
    assert "regulus_last_successful_loop_timestamp_seconds" in page
    assert 'regulus_hold{model="m",reason="metrics_missing"} 1.0' in page
    assert 'regulus_mode{mode="auto",model="m"} 1.0' in page
    assert 'regulus_agent_up{model="m"} 1.0' in page
    assert "regulus_last_reading_timestamp_seconds" in page
