"""Suite: all faults, each some times, in a seeded order, and what became of everything."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import proxy
from benchmarks.faults.fault import Fault
from benchmarks.faults.stand import Stand, stand
from benchmarks.faults.trial import AFTER_SECONDS, Check, Losses, Trial, losses
from benchmarks.progress import Progress
from service.cli.demo.processes import ChildFailedError

#: Under load before anything is injected, seconds.
_BEFORE_SECONDS = 1.0
#: Longest a trial may take.
_TRIAL_SECONDS = 240.0
_WELL_SECONDS = 60.0
#: New stands in a row that are not well, after which there is no point in going on.
_MOST_UNWELL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One trial.

    Attributes:
        fault: Its name.
        losses: Requests.
        recovery_seconds: From the end of the cause until all was well; NaN where it never was.
        said: What the loop said.
        checks: What held.
        acknowledged: Decisions that the history held before.
    """

    fault: str
    losses: Losses
    recovery_seconds: float
    said: tuple[str, ...]
    checks: tuple[Check, ...]
    acknowledged: int

    @property
    def passed(self) -> bool:
        """Whether all held."""
        return all(check.held for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "passed": self.passed}


async def run(
    faults: Sequence[Fault], repeats: int, rng: np.random.Generator, progress: Progress, keep: Callable[[Result], None]
) -> None:
    """Inject every fault.

    A stand on which something did not hold is thrown away, so that no fault suffers for another.

    Args:
        faults: Which.
        repeats: How often each.
        rng: Of orders, moments and loads.
        progress: Told of each.
        keep: Given each result as it comes.

    Raises:
        ChildFailedError: A stand did not come up.
    """
    for kind in dict.fromkeys(fault.on for fault in faults):
        unwell, mine = 0, [fault for fault in faults if fault.on == kind for _ in range(repeats)]
        left = [mine[index] for index in rng.permutation(len(mine))]
        while left:
            progress.begin(f"a new stand: {kind}")
            async with temporary_stand(kind, rng) as present:
                while left:
                    fault = left.pop()
                    progress.begin(fault.name)
                    try:
                        result = await inject(fault, present, rng)
                    except ChildFailedError as error:
                        # The fault before did more harm than was seen; this one is tried on a new stand.
                        progress.say(f"  {error}")
                        left.append(fault)
                        unwell += 1
                        if unwell > _MOST_UNWELL:
                            raise
                        break
                    unwell = 0
                    keep(result)
                    progress.done()
                    for check in result.checks:
                        if not check.held:
                            progress.say(f"  {fault.name}: {check.what}: {check.detail}")
                    if not result.passed:
                        break


@asynccontextmanager
async def temporary_stand(kind: str, rng: np.random.Generator) -> AsyncIterator[Stand]:
    """A stand in a folder that ends with it."""
    with tempfile.TemporaryDirectory(prefix="regulus-faults-", ignore_cleanup_errors=True) as scratch:
        async with stand(kind, Path(scratch), rng) as present:
            yield present


async def inject(fault: Fault, present: Stand, rng: np.random.Generator, *, load: float = 1.0) -> Result:
    """One trial, from good health back to it."""
    trial = Trial(present, rng, load=load)
    async with AsyncExitStack() as stack:
        await trial_begins(trial)
        before = await present.control.decisions()
        present.load.start(load)
        stack.push_async_callback(present.load.finish)
        await stack.enter_async_context(trial.listening())
        await asyncio.sleep(_BEFORE_SECONDS)
        try:
            async with asyncio.timeout(_TRIAL_SECONDS):
                await fault.run(trial)
        except Exception as error:
            # Whatever the system did that a trial did not expect is a finding, and the suite goes on.
            trial.expect("the trial ran to its end", held=False, detail=f"{type(error).__name__}: {error}")
        finally:
            present.proxy.alter = proxy.untouched
            present.control.jump(0.0)
        if np.isnan(trial.recovered):
            trial.recovered = time.monotonic()
            trial.expect("it recovers", held=False, detail="never seen")
        await asyncio.sleep(AFTER_SECONDS)
        await trial.hear_decisions(before)
        requests = await present.load.finish()
    lost = losses(requests, trial)
    beyond = lost.lost - lost.in_hand - lost.unserved
    trial.expect("serving goes on", beyond == 0 and lost.sent > 0, f"{beyond} of {lost.sent} lost: {lost.outcomes}")
    return Result(
        fault=fault.name,
        losses=lost,
        recovery_seconds=trial.recovery_seconds,
        said=tuple(trial.said),
        checks=tuple(trial.checks),
        acknowledged=len(before),
    )


async def trial_begins(trial: Trial) -> None:
    """Wait for good health.

    Raises:
        ChildFailedError: It does not come.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _WELL_SECONDS
    while not await trial.stand.agreed():
        if loop.time() > end:
            status = await trial.stand.control.status()
            raise ChildFailedError(f"the system is not well before a trial: {status and status['problem']}")
        await asyncio.sleep(0.1)
