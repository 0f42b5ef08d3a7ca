"""Faults of what answers requests: server processes, Envoy, and the embedded server as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from benchmarks.faults.fault import fault
from benchmarks.faults.programs import kill_stranger
from benchmarks.faults.stand import EMBEDDED, NODE, Stand
from benchmarks.faults.trial import Trial

_HUNG_SECONDS = 4.0
#: A slow server runs for so long, then stands for so long.
_RUNS, _STANDS = 0.04, 0.08


@fault("embedded server hung (SIGSTOP)", EMBEDDED)
async def embedded_hung(trial: Trial) -> None:
    """Its requests wait and are answered once it goes on; the loop holds and says that nobody answers."""
    await _hung(trial, "agent_unreachable", "metrics_missing", "no answer", "no metrics")


async def _hung(trial: Trial, *words: str) -> None:
    stand = trial.stand
    pid = stand.server_pids()[0]
    trial.inject()
    os.kill(pid, signal.SIGSTOP)
    try:
        if words:
            await trial.says(*words)
            await trial.holds(1.0)
        else:
            await asyncio.sleep(_HUNG_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    trial.lift()
    await trial.recovers(stand.agreed)


@fault("server killed (−9)", NODE)
async def server_killed(trial: Trial) -> None:
    """Only what it had in hand is lost; the rest waits at Envoy for the process that takes its place."""
    stand = trial.stand
    trial.in_hand = True
    before, crashes = stand.server_pids(), await _crashes(stand, "server")
    trial.inject()
    await kill_stranger(before[0])
    trial.is_gone()

    async def replaced() -> bool:
        present = stand.server_pids()
        return len(present) == len(before) and before[0] not in present and await stand.control.well()

    await trial.recovers(replaced)
    await _counted(trial, "server", crashes)


@fault("server hung (SIGSTOP)", NODE)
async def server_hung(trial: Trial) -> None:
    """Requests wait and are answered once it goes on."""
    await _hung(trial)


@fault("server slow", NODE)
async def server_slow(trial: Trial) -> None:
    """Requests are late and none is lost; the loop sees it and says so."""
    stand = trial.stand
    pid = stand.server_pids()[0]
    trial.inject()
    limping = asyncio.create_task(_limp(pid))
    try:
        await trial.says("slo_violated", "violated", within=40.0)
        await asyncio.sleep(2.0)
    finally:
        limping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await limping
        os.kill(pid, signal.SIGCONT)
    trial.lift()

    async def met() -> bool:
        status = await stand.control.status()
        return status is not None and status["problem"] is None and status["verdict"] == "met"

    await trial.recovers(met)


async def _limp(pid: int) -> None:
    while True:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(_STANDS)
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(_RUNS)


@fault("Envoy killed (−9)", NODE, renews=True)
async def envoy_killed(trial: Trial) -> None:
    """What it had in hand and what comes while nobody listens is lost; the agent starts it again at once."""
    stand = trial.stand
    trial.in_hand = trial.unreachable = True
    before, crashes = stand.envoy_pid(), await _crashes(stand, "envoy")
    trial.inject()
    await kill_stranger(before)
    trial.is_gone()

    async def back() -> bool:
        with contextlib.suppress(OSError, ValueError):
            # The page is made of Envoy's counts, so it is there again only when Envoy is.
            return stand.envoy_pid() != before and bool(await stand.metrics()) and await stand.control.well()
        return False

    await trial.recovers(back)
    await _counted(trial, "envoy", crashes)


async def _crashes(stand: Stand, process: str) -> float:
    """How often the node has seen such a process end by itself."""
    for line in (await stand.metrics()).splitlines():
        if line.startswith("regulus_node_crashes_total") and f'process="{process}"' in line:
            return float(line.rsplit(" ", 1)[1])
    return 0.0


async def _counted(trial: Trial, process: str, before: float) -> None:
    after = await _crashes(trial.stand, process)
    trial.expect("the reason is visible", after > before, f"regulus_node_crashes_total {before:g} → {after:g}")
    trial.said.append("node: regulus_node_crashes_total")
