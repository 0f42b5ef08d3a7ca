"""The control service's loop steers a node over HTTP, in the process that `--live` starts for it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.live.pilot import pilot
from benchmarks.live.task import GUARDED, Task
from service.domain.clock import SystemClock
from service.domain.serving_config import ServingConfig
from tests.support.agents import SimulatedNode, serving
from tests.support.api_service import LOOP


def latency(config: ServingConfig, rate: float) -> float:
    return 0.01 if config.enable_batching else 0.1


async def test_a_process_of_its_own_steers_with_guardrails_and_tells_what_it_did(tmp_path: Path) -> None:
    node = SimulatedNode(SystemClock(), latency, rate=2000.0)
    async with serving(node) as url:
        task = Task(
            policy=f"{GUARDED}random",
            seed=0,
            model=node.name,
            agent=url,
            metrics=f"{url}/metrics",
            slo={"bound_seconds": 0.05},
            loop=dict(LOOP),
            seconds=3.0,
            log=str(tmp_path / "steered.json"),
        )
        async with pilot(task, tmp_path / "log") as one:
            one.begin()
            steered = await one.end()
    assert steered.windows > 0
    assert steered.refused == 0
    assert [switch.config for switch in steered.switches] == [config.describe() for _, config in node.orders]
    assert steered.switches
    assert steered.switches[0].intent == "explore"
    assert len(steered.thinking) >= len(steered.switches)
