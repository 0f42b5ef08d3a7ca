"""Faults of a node's agent: killed in the middle of a switch, at each of its steps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import httpx

from benchmarks.faults.fault import fault
from benchmarks.faults.programs import until
from benchmarks.faults.stand import MODEL, NODE, Stand
from benchmarks.faults.trial import Trial
from service.domain.serving_config import ServingConfig
from service.node.processes import marked

_STEP_SECONDS = 60.0
_DRAIN_SECONDS = 30.0

Step = Callable[[Stand, int], Awaitable[bool]]
"""Whether the switch to a generation has come so far."""


async def begun(stand: Stand, generation: int) -> bool:
    """New processes are written down and started."""
    return any(server["generation"] == generation for server in stand.node_state()["starting"])


async def available(stand: Stand, generation: int) -> bool:
    """They serve the model; Envoy does not know them yet."""
    for server in stand.node_state()["starting"]:
        if server["generation"] == generation:
            with contextlib.suppress(httpx.HTTPError):
                url = f"http://127.0.0.1:{server['rest_port']}/v1/models/{MODEL}"
                return "AVAILABLE" in (await stand.client.get(url, timeout=1.0)).text
    return await committed(stand, generation)


async def moving(stand: Stand, generation: int) -> bool:
    """Envoy is told of them; the change is not written down as made."""
    ports = [server["grpc_port"] for server in stand.node_state()["starting"] if server["generation"] == generation]
    told = "".join(path.read_text(encoding="utf-8") for path in (stand.state_dir / "envoy").glob("*.json"))
    return any(str(port) in told for port in ports) or await committed(stand, generation)


async def committed(stand: Stand, generation: int) -> bool:
    """The change is written down as made; the old processes still drain."""
    return bool(stand.node_state()["generation"] >= generation)


async def _killed_at(trial: Trial, step: Step) -> None:
    stand = trial.stand
    before = await stand.backend.read()
    config, generation = await stand.another(), before.generation + 1
    ordering = asyncio.create_task(stand.control.order(config))

    async def reached() -> bool:
        with contextlib.suppress(OSError, ValueError):
            return await step(stand, generation)
        return False

    trial.expect("the step is reached", await until(reached, _STEP_SECONDS, every=0.003))
    trial.inject()
    await stand.server.kill()
    made = stand.node_state()["generation"] >= generation
    await trial.says("agent_unreachable", "no metrics", "metrics_missing", "failed", within=10.0)
    trial.lift()
    await stand.server.start()
    answer = await ordering

    async def settled() -> bool:
        state = stand.node_state()
        return not state["starting"] and await stand.agreed()

    await trial.recovers(settled)
    present = await stand.in_force()
    _judge(trial, present, before.config, config, made=made)
    acknowledged = answer is not None and answer.is_success
    trial.expect("no success was told of a change that is not", not acknowledged or present == config, present)

    async def tidy() -> bool:
        # Server processes, and Envoy.
        return len(marked(stand.state_dir)) == len(stand.server_pids()) + 1

    trial.expect("no process is left over", await until(tidy, _DRAIN_SECONDS))


def _judge(trial: Trial, present: ServingConfig | None, old: ServingConfig, new: ServingConfig, *, made: bool) -> None:
    """Before the commit the change has not been; after it, it has."""
    trial.expect("the change is there wholly or not at all", present == (new if made else old), present)


@fault("agent killed (−9) mid-switch: new processes begun", NODE, renews=True)
async def agent_killed_begun(trial: Trial) -> None:
    """The old configuration serves throughout; the next agent ends what was begun."""
    await _killed_at(trial, begun)


@fault("agent killed (−9) mid-switch: new processes available", NODE, renews=True)
async def agent_killed_available(trial: Trial) -> None:
    """The old configuration serves throughout; the next agent ends what was begun."""
    await _killed_at(trial, available)


@fault("agent killed (−9) mid-switch: Envoy being told", NODE, renews=True)
async def agent_killed_moving(trial: Trial) -> None:
    """Old and new processes both serve until the next agent decides for one of them."""
    await _killed_at(trial, moving)


@fault("agent killed (−9) mid-switch: old processes draining", NODE, renews=True)
async def agent_killed_draining(trial: Trial) -> None:
    """The new configuration serves; the next agent lets the old processes finish, and ends them."""
    await _killed_at(trial, committed)
