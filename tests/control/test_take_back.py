"""What a node takes back by itself is known for what it is, and not ordered again."""

from __future__ import annotations

from typing import Any

import pytest

from service.backends.protocol import BackendPhase, BackendState, Support
from service.control.take_back import TakeBack, taken_back
from service.domain.decision import Action, Decision, Reason
from service.domain.serving_config import ServingConfig
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, World, always, stay

DEFAULT = ServingConfig()
CRASHING = ServingConfig(enable_batching=True, max_batch_size=16)


def said(raw: Any, generation: int = 5) -> TakeBack | None:
    return taken_back(
        BackendState(
            config=DEFAULT,
            generation=generation,
            phase=BackendPhase.SERVING,
            support=Support(),
            details={"taken_back": raw},
        )
    )


def of(config: ServingConfig, generation: Any = 4, why: Any = "exit code 139") -> dict[str, Any]:
    return {"generation": generation, "config": config.to_dict(), "why": why}


class TestWhatAnAgentSays:
    def test_what_is_in_force_follows_what_was_taken_back(self):
        assert said(of(CRASHING)) == TakeBack(CRASHING, "exit code 139")

    def test_an_older_one_is_no_news(self):
        assert said(of(CRASHING), generation=6) is None

    @pytest.mark.parametrize(
        "raw",
        [
            None,
            "yes",
            [],
            {},
            {"generation": 4},
            of(CRASHING, generation="4"),
            of(CRASHING, generation=None),
            {"generation": 4, "config": {"no_such_knob": 1}, "why": ""},
            {"generation": 4, "config": 7, "why": ""},
            of(DEFAULT),
        ],
    )
    def test_what_makes_no_sense_is_not_believed(self, raw):
        assert said(raw) is None

    def test_without_a_reason_and_with_an_endless_one_it_is_believed(self):
        assert said(of(CRASHING, why=None)) is not None
        endless = said(of(CRASHING, why="x" * 10_000))
        assert endless is not None
        assert len(endless.why) == 500

    def test_an_agent_that_tells_nothing_of_it_is_understood(self):
        state = BackendState(config=DEFAULT, generation=5, phase=BackendPhase.SERVING, support=Support())
        assert taken_back(state) is None


def crash_loop(node: SimulatedNode) -> None:
    """What is in force crashes again and again, and the node returns to what was before."""
    describe, gone = node.describe, of(node.config, node.generation)
    node.put_in_force(DEFAULT)
    node.describe = lambda: describe() | {"taken_back": gone}


def noted(world: World) -> list[Decision]:
    return [decision for decision in world.decisions(Action.HOLD) if decision.reason is Reason.INFEASIBLE]


def crashing_node(world: World) -> SimulatedNode:
    return world.add(SimulatedNode(world.clock, lambda config, rate: 0.08))


async def test_what_the_node_took_back_is_not_ordered_again_and_nobody_is_said_to_have_chosen_the_rest(world):
    node = crashing_node(world)
    await world.start(policy=ScriptedPolicy(always(CRASHING)), min_dwell_seconds=10)
    await world.until(lambda: node.config == CRASHING)
    crash_loop(node)
    await world.until(lambda: noted(world) != [])
    (found,) = noted(world)
    assert "crashed again and again (exit code 139)" in found.explanation
    assert (found.config_before, found.config_after) == (CRASHING, DEFAULT)
    assert world.status().quarantine[CRASHING].reason is Reason.INFEASIBLE
    assert not world.store.state("m").guards.chosen_by_user
    await world.run_for(300)
    assert [config for _, config in node.orders] == [CRASHING]
    assert Reason.CONFIG_CHANGED_OUTSIDE not in {decision.reason for decision in world.decisions()}


async def test_what_was_taken_back_while_the_service_was_down_is_found_and_told_of_once(world):
    node = crashing_node(world)
    await world.start(policy=ScriptedPolicy(always(CRASHING)))
    await world.until(lambda: world.decisions(Action.APPLY) != [])
    await world.stop()
    crash_loop(node)
    for _ in range(2):
        await world.start(policy=ScriptedPolicy(stay))
        await world.run_for(20)
        assert CRASHING in world.status().quarantine
        assert not world.store.state("m").guards.chosen_by_user
        await world.stop()
    told = [decision for decision in noted(world) if "took it back" in decision.explanation]
    assert len(told) == 1


async def test_what_was_taken_back_before_its_order_was_answered_is_known_for_what_it_is(world):
    node = crashing_node(world)
    node.faults["order"] = "lost answer"
    put = node.put_in_force

    def put_and_crash(config: ServingConfig, generation: int | None = None) -> None:
        put(config, generation)
        if config == CRASHING:
            crash_loop(node)

    node.put_in_force = put_and_crash
    await world.start(policy=ScriptedPolicy(always(CRASHING)))
    await world.until(lambda: noted(world) != [])
    assert CRASHING in world.status().quarantine
    assert Reason.APPLY_FAILED not in {decision.reason for decision in world.decisions()}
    await world.run_for(60)
    assert len(node.orders) == 1


async def test_somebody_who_changes_the_configuration_after_a_take_back_is_still_somebody(world):
    node = crashing_node(world)
    await world.start(policy=ScriptedPolicy(always(CRASHING)))
    await world.until(lambda: node.config == CRASHING)
    crash_loop(node)
    await world.until(lambda: noted(world) != [])
    node.put_in_force(ServingConfig(instances=2))
    await world.until(lambda: world.status().config == ServingConfig(instances=2))
    (outside,) = [d for d in world.decisions() if d.reason is Reason.CONFIG_CHANGED_OUTSIDE]
    assert "somebody else" in outside.explanation
