"""Faults of the load: there is none, or ten times as much."""

from __future__ import annotations

import asyncio

from benchmarks.faults.fault import fault
from benchmarks.faults.stand import EMBEDDED
from benchmarks.faults.trial import Trial

SURGE = 10.0


@fault("load vanishes", EMBEDDED)
async def load_vanishes(trial: Trial) -> None:
    """Without requests there is nothing to judge: the loop holds."""
    stand = trial.stand
    trial.inject()
    await stand.load.change(0.0)
    await trial.says("no_traffic")
    await trial.holds(2.0)
    await stand.load.change(trial.load)
    trial.lift()

    async def sees() -> bool:
        status = await stand.control.status()
        return status is not None and status["window"] is not None and status["window"]["succeeded"] > 0

    await trial.recovers(sees)


@fault("load surges tenfold", EMBEDDED)
async def load_surges(trial: Trial) -> None:
    """No request is lost, and windows are not judged across the change of load."""
    stand = trial.stand
    trial.inject()
    # Ten times the most that a soak draws is more than a server takes, and what it refuses would count as lost.
    await stand.load.change(SURGE * min(trial.load, 1.0))
    await trial.says("not_stationary", "load_changed", "the load is", within=10.0)
    await asyncio.sleep(3.0)
    await stand.load.change(trial.load)
    trial.lift()
    await trial.recovers(stand.control.well)
