"""off observes, recommend says, auto does; and none of them more than that."""

from __future__ import annotations

import pytest

from service.domain.decision import Action, Intent, Mode, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict
from service.domain.workload import Workload
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, always, stay

DEFAULT = ServingConfig()
BATCHING = ServingConfig(enable_batching=True, max_batch_size=16)


def slow_default(config: ServingConfig, rate: float) -> float:
    return 0.1 if config == DEFAULT else 0.008


async def test_recommend_says_what_it_would_do_and_never_touches(world):
    node = world.add(SimulatedNode(world.clock, slow_default), mode=Mode.RECOMMEND)
    await world.start()
    await world.run_for(200)
    assert node.orders == []
    said = world.decisions(Action.RECOMMEND)
    assert said
    assert said[0].reason is Reason.SLO_VIOLATED
    assert said[0].recommendation.config != DEFAULT
    assert said[0].config_after == DEFAULT
    assert "nothing was touched" in said[0].explanation
    assert world.status().recommendation is not None


async def test_the_same_recommendation_is_not_repeated_with_every_window(world):
    world.add(SimulatedNode(world.clock, slow_default), mode=Mode.RECOMMEND)
    await world.start(policy=ScriptedPolicy(always(BATCHING)), hold_repeat_seconds=300)
    await world.run_for(280)
    assert len(world.decisions(Action.RECOMMEND)) == 1
    await world.run_for(100)
    assert len(world.decisions(Action.RECOMMEND)) == 2


async def test_off_observes_and_asks_nothing(world):
    node = world.add(SimulatedNode(world.clock, slow_default), mode=Mode.OFF)
    policy = ScriptedPolicy(always(BATCHING))
    await world.start(policy=policy)
    await world.run_for(60)
    assert node.orders == []
    assert policy.asked == []
    assert len(policy.observed) >= 3
    assert len(world.store.observations("m")) == len(policy.observed)
    assert world.status().hold_reason is Reason.MODE_OFF
    assert world.status().verdict is SloVerdict.VIOLATED


async def test_the_mode_can_be_changed_while_it_runs(world):
    node = world.add(SimulatedNode(world.clock, slow_default), mode=Mode.RECOMMEND)
    await world.start(policy=ScriptedPolicy(always(BATCHING)))
    await world.run_for(40)
    await world.supervisor.set_mode("m", Mode.AUTO)
    await world.until(lambda: node.config == BATCHING, within=60)
    await world.supervisor.set_mode("m", Mode.OFF)
    node.put_in_force(DEFAULT)
    await world.run_for(60)
    assert node.config == DEFAULT


async def test_leaving_auto_while_the_policy_thinks_stops_the_change(world):
    node = world.add(SimulatedNode(world.clock, slow_default))

    def choose(workload: Workload, incumbent: ServingConfig, explore: bool) -> ServingConfig:
        world.supervisor._loops["m"]._track.mode = Mode.OFF  # as set_mode does once it is remembered
        return BATCHING

    await world.start(policy=ScriptedPolicy(choose))
    await world.run_for(60)
    assert node.orders == []
    assert world.status().hold_reason is Reason.MODE_OFF


async def test_a_new_objective_is_judged_by_at_once(world):
    node = world.add(SimulatedNode(world.clock, slow_default), bound=1.0)
    await world.start(policy=ScriptedPolicy(always(BATCHING), Intent.EXPLORE, predicted=None))
    await world.until(lambda: world.status().verdict is SloVerdict.MET)
    await world.supervisor.set_slo("m", Slo(0.05))
    assert world.status().slo == Slo(0.05)
    assert world.status().verdict is None
    await world.until(lambda: node.config != DEFAULT, within=60)
    assert world.decisions(Action.APPLY)[0].reason is Reason.SLO_VIOLATED


class TestWhileTheObjectiveIsMet:
    """A switch must be worth its risk."""

    @pytest.mark.parametrize("predicted", [None, 0.0155, 0.04])
    async def test_too_little_promised_is_not_worth_a_switch(self, world, predicted):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.008))
        await world.start(policy=ScriptedPolicy(always(BATCHING), predicted=predicted))
        await world.run_for(60)
        assert node.orders == []
        assert Reason.INCUMBENT_BEST in {d.reason for d in world.decisions(Action.HOLD)}

    async def test_a_clear_gain_is(self, world):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.008))
        await world.start(policy=ScriptedPolicy(always(BATCHING), predicted=0.008))
        await world.run_for(60)
        assert node.config == BATCHING
        assert world.decisions(Action.APPLY)[0].reason is Reason.IMPROVEMENT

    async def test_exploration_that_may_break_the_objective_is_replaced_by_the_best_known(self, world):
        node = world.add(SimulatedNode(world.clock, lambda config, rate: 0.008))
        policy = ScriptedPolicy(
            lambda workload, incumbent, explore: BATCHING if explore else incumbent, Intent.EXPLORE, predicted=0.049
        )
        await world.start(policy=policy)
        await world.run_for(60)
        assert node.orders == []
        assert [explore for _, _, explore in policy.asked[:2]] == [True, False]

    async def test_the_policy_is_not_asked_more_often_than_the_dwell(self, world):
        world.add(SimulatedNode(world.clock, lambda config, rate: 0.008))
        policy = ScriptedPolicy(stay)
        await world.start(policy=policy, min_dwell_seconds=30)
        await world.run_for(300)
        assert 5 <= len(policy.asked) <= 300 / 30


async def test_an_incumbent_outside_the_owners_bounds_is_left_even_if_it_does_well(world):
    node = world.add(
        SimulatedNode(world.clock, lambda config, rate: 0.008), pinned={"tensorflow_intra_op_parallelism": 1}
    )
    await world.start()
    await world.run_for(60)
    assert node.config.tensorflow_intra_op_parallelism == 1
    assert world.decisions(Action.APPLY)[0].reason is Reason.USER
