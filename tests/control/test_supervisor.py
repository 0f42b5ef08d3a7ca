"""Many models under one service: independent of each other."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from service.control.settings import LoopSettings, ModelSettings, SloSettings
from service.control.supervisor import Supervisor
from service.domain.decision import Action, Mode, Reason
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.window import SloVerdict
from service.telemetry.own_metrics import ControlMetrics
from tests.support.agents import SimulatedNode
from tests.support.control_world import ScriptedPolicy, always, stay

DEFAULT = ServingConfig()
GOOD = ServingConfig(enable_batching=True, max_batch_size=16)


def only_good(config: ServingConfig, rate: float) -> float:
    return 0.008 if config == GOOD else 0.1


@pytest.mark.parametrize("door", ["read", "order", "metrics"])
async def test_a_node_that_hangs_does_not_delay_another(world, door):
    hanging = world.add(SimulatedNode(world.clock, only_good, name="hanging"))
    world.add(SimulatedNode(world.clock, only_good, name="healthy"))
    hanging.faults[door] = "hang"
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: world.status("healthy").last_known_good == GOOD, within=15)
    assert hanging.config == DEFAULT


async def test_a_loop_that_breaks_does_not_stop_another(world):
    broken = world.add(SimulatedNode(world.clock, only_good, name="broken"))
    world.add(SimulatedNode(world.clock, only_good, name="healthy"))

    async def answer(*_):
        raise RuntimeError("this is no error that anybody expects")

    broken.answer = answer
    await world.start(policy=ScriptedPolicy(always(GOOD)))
    await world.until(lambda: world.status("healthy").last_known_good == GOOD, within=15)
    _, lines = world.supervisor.ready()
    assert lines["healthy"] == "ok"
    assert "this is no error that anybody expects" in lines["broken"]


async def test_each_model_has_its_own_objective_mode_and_history(world):
    def batching_helps(config: ServingConfig, rate: float) -> float:
        return 0.008 if config.enable_batching else 0.1

    one = world.add(SimulatedNode(world.clock, batching_helps, name="one"), mode=Mode.AUTO)
    two = world.add(SimulatedNode(world.clock, batching_helps, name="two"), mode=Mode.RECOMMEND, bound=1.0)
    await world.start()
    await world.until(lambda: world.status("one").verdict is SloVerdict.MET, within=120)
    assert one.orders
    assert two.orders == []
    assert world.status("two").verdict is SloVerdict.MET
    assert {d.model for d in world.decisions(model="one")} == {"one"}
    assert world.decisions(Action.APPLY, model="two") == []
    assert world.supervisor.names() == ["one", "two"]


async def test_it_is_ready_once_every_loop_has_found_its_feet(world):
    world.add(SimulatedNode(world.clock, only_good, name="one"))
    slow = world.add(SimulatedNode(world.clock, only_good, name="slow"))
    slow.faults["read"] = "hang"
    await world.start(policy=ScriptedPolicy(stay), agent_timeout_seconds=5)
    await world.run_for(2)
    assert world.supervisor.ready() == (False, {"one": "ok", "slow": "starting"})
    await world.run_for(5)
    ready, lines = world.supervisor.ready()
    assert ready
    assert "slow.test" in lines["slow"]


async def test_old_history_is_dropped(world):
    node = world.add(SimulatedNode(world.clock, only_good, config=GOOD))
    await world.start(
        policy=ScriptedPolicy(stay),
        keep_observations=100,
        scrape_interval_seconds=5,
        metrics_stale_seconds=20,
        window_seconds=10,
        agent_read_interval_seconds=60,
    )
    await world.run_for(3500)
    assert len(world.store.observations("m", limit=1000)) > 110
    await world.run_for(150)
    assert 100 <= len(world.store.observations("m", limit=1000)) <= 115
    assert node.orders == []


def test_two_models_of_one_name_are_refused(world):
    model = ModelSettings(
        name="m", agent_url="http://a.test", metrics_url="http://a.test/metrics", slo=SloSettings(bound_seconds=1)
    )
    with pytest.raises(InvalidValueError, match="given twice"):
        Supervisor(
            [model, model], LoopSettings(), world.store, metrics=ControlMetrics(CollectorRegistry(), version="test")
        )


async def test_status_before_anything_is_known_is_whole(world):
    world.add(SimulatedNode(world.clock, only_good))
    supervisor = await world.start(policy=ScriptedPolicy(stay))
    status = supervisor.status("m")
    assert status.config is None
    assert status.window is None
    assert not status.agent_reachable
    assert supervisor.ready() == (False, {"m": "starting"})
    await world.run_for(20)
    status = supervisor.status("m")
    assert status.hold_reason is Reason.INCUMBENT_BEST
    assert status.knobs["max_batch_size"][0] == 0
    assert status.server_kind == "simulated"
    assert status.in_force_since == 1_700_000_000.0
