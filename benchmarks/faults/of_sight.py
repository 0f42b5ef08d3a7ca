"""Faults of what the control service sees: the metrics page is gone, old, broken, begun anew, or a lie."""

from __future__ import annotations

import asyncio
import time

from benchmarks.faults import proxy
from benchmarks.faults.fault import fault
from benchmarks.faults.programs import until
from benchmarks.faults.stand import EMBEDDED
from benchmarks.faults.trial import Trial

_HOLD_SECONDS = 3.0


async def _altered(trial: Trial, alter: proxy.Alter, *words: str) -> None:
    """Alter the page until the loop has said why it holds, and held for a while."""
    stand = trial.stand
    trial.inject()
    stand.proxy.alter = alter
    await trial.says(*words)
    await trial.holds(_HOLD_SECONDS)
    stand.proxy.alter = proxy.untouched
    trial.lift()

    async def sees() -> bool:
        status = await stand.control.status()
        return status is not None and status["problem"] is None and status["window"] is not None

    await trial.recovers(sees)


@fault("metrics missing", EMBEDDED)
async def metrics_missing(trial: Trial) -> None:
    """Missing metrics never cause a change: the loop holds and says why it is blind."""
    await _altered(trial, proxy.missing, "metrics_missing")


@fault("metrics stale", EMBEDDED)
async def metrics_stale(trial: Trial) -> None:
    """A page that does not move looks like no traffic; the loop holds."""
    await _altered(trial, proxy.frozen(), "no_traffic", "metrics_missing")


@fault("metrics NaN", EMBEDDED)
async def metrics_nan(trial: Trial) -> None:
    """What is no number is no metric: as if there were none."""
    await _altered(trial, proxy.not_a_number, "metrics_missing")


@fault("metrics that contradict themselves", EMBEDDED)
async def metrics_contradictory(trial: Trial) -> None:
    """Counts that go down within one page are refused as a whole: as if there were none."""
    await _altered(trial, proxy.contradictory, "metrics_missing")


@fault("counters reset", EMBEDDED)
async def counters_reset(trial: Trial) -> None:
    """What was measured before is thrown away rather than compared; nothing is judged across the reset."""
    stand = trial.stand
    trial.inject()
    at, before = time.time(), stand.proxy.seen
    stand.proxy.reset()

    async def anew() -> bool:
        status = await stand.control.status()
        if status is None or stand.proxy.seen <= before:
            return False
        return status["window"] is None or status["window"]["started_at"] >= at

    trial.expect("the window begins anew", await until(anew, 10.0))

    async def sees() -> bool:
        status = await stand.control.status()
        if status is None or status["problem"] is not None:
            return False
        return status["window"] is not None and status["window"]["duration_seconds"] > 1.0

    await trial.recovers(sees)


@fault("metrics that lie: all slow", EMBEDDED)
async def metrics_lie(trial: Trial) -> None:
    """It is believed: the loop may switch, within its budget and losing nothing, until the lie ends and it sees."""
    stand = trial.stand
    trial.inject()
    stand.proxy.alter = proxy.slower
    await trial.says("slo_violated", "violated", within=40.0)
    await asyncio.sleep(4.0)
    during = await stand.control.status()
    stand.proxy.alter = proxy.untouched
    trial.lift()
    trial.expect("switches stay within their budget", during is not None and during["switches_left"] > 0)

    async def met() -> bool:
        status = await stand.control.status()
        return status is not None and status["problem"] is None and status["verdict"] == "met"

    await trial.recovers(met)
