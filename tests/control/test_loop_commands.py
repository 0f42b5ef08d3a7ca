"""What a person commands is done at once, in every mode, and written down."""

from __future__ import annotations

import asyncio

import pytest

from service.domain.decision import Action, Intent, Mode, Reason
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    InvalidValueError,
    StaleGenerationError,
    TelemetryError,
    UnknownModelError,
)
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict
from service.domain.workload import Workload
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, always, stay

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)
BAD = ServingConfig(enable_batching=True, max_batch_size=2)


def flat(config: ServingConfig, rate: float) -> float:
    return 0.1 if config == BAD else 0.008


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_person_can_set_the_configuration_in_every_mode(world, mode):
    node = world.add(SimulatedNode(world.clock, flat), mode=mode)
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(10)
    decision = await world.supervisor.set_config("m", GOOD)
    assert node.config == GOOD
    assert (decision.action, decision.reason, decision.mode) == (Action.MANUAL, Reason.USER, mode)
    assert (decision.config_before, decision.config_after, decision.generation) == (DEFAULT, GOOD, 1)
    assert world.store.decision(decision.id) == decision
    assert world.status().config == GOOD
    assert world.store.state("m").incumbent == GOOD


async def test_a_persons_choice_is_judged_but_never_undone(world):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay))
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    await world.supervisor.set_config("m", BAD)
    assert world.status().verifying
    await world.run_for(60)
    assert node.config == BAD
    worse = [d for d in world.decisions(Action.HOLD) if d.reason is Reason.WORSE_THAN_BEFORE]
    assert len(worse) == 1
    assert "a person chose it" in worse[0].explanation


async def test_a_persons_choice_stays_for_the_dwell_though_it_violates(world):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(
        policy=ScriptedPolicy(lambda w, incumbent, e: GOOD if incumbent == BAD else incumbent), min_dwell_seconds=40
    )
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    await world.supervisor.set_config("m", BAD)
    await world.run_for(35)
    assert node.config == BAD
    assert world.status().hold_reason is Reason.DWELL
    await world.until(lambda: node.config == GOOD, within=20)


async def test_setting_what_is_in_force_does_nothing_and_says_so(world):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    decision = await world.supervisor.set_config("m", DEFAULT)
    assert (decision.action, decision.reason) == (Action.HOLD, Reason.USER)
    assert "in force already" in decision.explanation
    assert node.orders == []


@pytest.mark.parametrize(
    ("config", "knob"),
    [
        (DEFAULT.with_values(instances=5), "instances"),
        (GOOD.with_values(max_batch_size=2048), "max_batch_size"),
        (GOOD.with_values(num_batch_threads=65), "num_batch_threads"),
    ],
)
async def test_what_the_node_does_not_support_is_refused_with_the_knob(world, config, knob):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    with pytest.raises(InfeasibleConfigError) as refused:
        await world.supervisor.set_config("m", config)
    assert refused.value.field == knob
    assert node.orders == []


async def test_a_knob_the_node_cannot_change_is_refused(world):
    node = world.add(SimulatedNode(world.clock, flat))
    del node.knobs["instances"]
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    with pytest.raises(InfeasibleConfigError, match="cannot be changed"):
        await world.supervisor.set_config("m", DEFAULT.with_values(instances=2))
    assert world.status().knobs["instances"] == (1,)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("down", BackendUnavailableError),
        ("hang", BackendUnavailableError),
        ("error", BackendUnavailableError),
        ("infeasible", InfeasibleConfigError),
        ("timeout", ApplyTimeoutError),
        ("conflict", StaleGenerationError),
    ],
)
async def test_what_goes_wrong_is_told_to_the_person(world, fault, error):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay), apply_timeout_seconds=3)
    await world.run_for(5)
    node.faults["order"] = fault
    command = asyncio.create_task(world.supervisor.set_config("m", GOOD))
    await world.run_for(10)
    with pytest.raises(error):
        await command
    assert node.config == world.status().config == DEFAULT
    del node.faults["order"]
    await world.run_for(30)
    assert (await world.supervisor.set_config("m", GOOD)).config_after == GOOD


async def test_a_command_whose_answer_is_lost_is_still_written_down(world):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    node.faults["order"] = "lost answer"
    with pytest.raises(BackendUnavailableError):
        await world.supervisor.set_config("m", GOOD)
    await world.until(lambda: len(world.decisions(Action.MANUAL)) == 1)
    assert world.decisions(Action.MANUAL)[0].config_after == GOOD


async def test_a_command_that_is_abandoned_half_way_is_still_written_down(world):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    node.switch_seconds = 2.0
    command = asyncio.create_task(world.supervisor.set_config("m", GOOD))
    await world.run_for(1)
    command.cancel()
    await world.run_for(1)
    node.state = "serving"
    node.put_in_force(GOOD, 1)  # in process, cancelling the call cancels the node too; a real one would finish
    await world.until(lambda: len(world.decisions(Action.MANUAL)) == 1)


async def test_an_agent_that_is_away_when_commanded_is_told(world):
    node = world.add(SimulatedNode(world.clock, flat))
    node.faults["read"] = "down"
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    with pytest.raises(BackendUnavailableError):
        await world.supervisor.set_config("m", GOOD)
    with pytest.raises(BackendUnavailableError):
        await world.supervisor.what_if("m", Workload(100))


async def test_commands_that_come_together_are_done_one_after_the_other(world):
    node = world.add(SimulatedNode(world.clock, flat))
    await world.start(policy=ScriptedPolicy(stay))
    await world.run_for(5)
    decisions = await asyncio.gather(*(world.supervisor.set_config("m", c) for c in (GOOD, BAD, GOOD)))
    assert [d.generation for d in decisions] == [1, 2, 3]
    assert [config for _, config in node.orders] == [GOOD, BAD, GOOD]


class TestRollback:
    async def test_it_returns_to_the_last_known_good(self, world):
        node = world.add(SimulatedNode(world.clock, flat), mode=Mode.RECOMMEND)
        await world.start(policy=ScriptedPolicy(stay))
        await world.until(lambda: world.status().last_known_good == DEFAULT)
        await world.supervisor.set_config("m", BAD)
        decision = await world.supervisor.rollback("m")
        assert (decision.action, decision.reason) == (Action.ROLLBACK, Reason.USER)
        assert node.config == decision.config_after == DEFAULT

    async def test_without_a_last_known_good_it_says_so(self, world):
        world.add(SimulatedNode(world.clock, lambda config, rate: 0.1), mode=Mode.RECOMMEND)
        await world.start(policy=ScriptedPolicy(stay))
        await world.run_for(20)
        with pytest.raises(InvalidValueError, match="no configuration has met the objective") as refused:
            await world.supervisor.rollback("m")
        assert refused.value.field == "last_known_good"

    async def test_where_it_is_in_force_already_nothing_is_done(self, world):
        node = world.add(SimulatedNode(world.clock, flat))
        await world.start(policy=ScriptedPolicy(stay))
        await world.until(lambda: world.status().last_known_good == DEFAULT)
        decision = await world.supervisor.rollback("m")
        assert (decision.action, decision.reason) == (Action.HOLD, Reason.USER)
        assert node.orders == []


class TestQuestions:
    async def test_a_recommendation_for_the_present_load(self, world):
        node = world.add(SimulatedNode(world.clock, flat, rate=120), mode=Mode.OFF)
        await world.start(policy=ScriptedPolicy(always(GOOD), Intent.EXPLORE))
        await world.run_for(10)
        said = await world.supervisor.recommendation("m")
        assert said.config == GOOD
        assert said.workload.rate_per_second == pytest.approx(120, rel=0.3)
        assert node.orders == []

    async def test_without_any_load_there_is_none(self, world):
        node = world.add(SimulatedNode(world.clock, flat))
        node.faults["metrics"] = "down"
        await world.start(policy=ScriptedPolicy(stay))
        await world.run_for(3)
        with pytest.raises(TelemetryError, match="not known yet"):
            await world.supervisor.recommendation("m")

    async def test_what_if_takes_the_load_and_the_objective_given(self, world):
        world.add(SimulatedNode(world.clock, flat))
        await world.start()
        await world.run_for(30)
        said = await world.supervisor.what_if("m", Workload(500, 2.0), Slo(0.005))
        assert said.workload == Workload(500, 2.0)
        assert "5 ms" in said.explanation
        assert said.predicted_tail is not None


@pytest.mark.parametrize(
    "question",
    [
        lambda s: s.set_slo("nobody", Slo(1.0)),
        lambda s: s.set_mode("nobody", Mode.OFF),
        lambda s: s.recommendation("nobody"),
        lambda s: s.what_if("nobody", Workload(1)),
        lambda s: s.set_config("nobody", DEFAULT),
        lambda s: s.rollback("nobody"),
    ],
)
async def test_an_unknown_model_is_told_with_its_name(world, question):
    world.add(SimulatedNode(world.clock, flat))
    supervisor = await world.start(policy=ScriptedPolicy(stay))
    with pytest.raises(UnknownModelError, match="nobody"):
        await question(supervisor)
    with pytest.raises(UnknownModelError, match="nobody"):
        supervisor.status("nobody")
