"""Soak: load that varies, faults at random, for long; nothing acknowledged is lost, and nothing grows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.faults.fault import Fault
from benchmarks.faults.memory import Growth, Sample, growth, look
from benchmarks.faults.stand import NODE, Stand
from benchmarks.faults.suite import Result, inject, temporary_stand
from benchmarks.progress import Progress
from benchmarks.tables import Table

_SAMPLE_SECONDS = 5.0
#: Between two faults there is load alone, for so long.
_QUIET_SECONDS = (5.0, 20.0)
#: The load is between these times the usual one, drawn anew for each fault.
_LOADS = (0.3, 3.0)
#: Processes that are looked at are killed in this first part of it only, so that their lives after it are long.
_RENEWING_SHARE = 0.3
#: What belongs to the embedded server alone makes no sense on a node.
_HUNG_EMBEDDED = "embedded server hung (SIGSTOP)"

#: Growth an hour up to which something counts as flat: the interval must reach below it. The history is told and not
#: judged: it grows until there is more than is to be kept, which is looked at once an hour.
FLAT = {"memory MB": 24.0, "open files": 4.0, "threads": 4.0, "database MB": float("inf")}


class Sampler:
    """Looks at the control service, the node's agent and Envoy, and at the history.

    Args:
        present: What to look at.
    """

    def __init__(self, present: Stand) -> None:
        self._stand = present
        self._lives: dict[str, tuple[int, int]] = {}
        self.samples: dict[str, list[Sample]] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self._take()
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _take(self) -> None:
        present, now = self._stand, time.monotonic()
        pids = {"control service": present.control.program.pid, "node's agent": present.server.pid}
        with contextlib.suppress(OSError, ValueError):
            pids["Envoy"] = present.envoy_pid()
        for name, pid in pids.items():
            values = look(pid)
            if values is not None:
                self._add(name, pid, now, values)
        files = present.control.database.parent.glob(present.control.database.name + "*")
        with contextlib.suppress(OSError):
            self._add("history", 0, now, {"database MB": sum(file.stat().st_size for file in files) / 1e6})

    def _add(self, name: str, pid: int, now: float, values: dict[str, float]) -> None:
        known, life = self._lives.get(name, (pid, 0))
        if known != pid:
            life += 1
        self._lives[name] = (pid, life)
        self.samples.setdefault(name, []).append(Sample(now, life, values))


async def soak(faults: Sequence[Fault], seconds: float, rng: np.random.Generator, progress: Progress) -> dict[str, Any]:
    """Soak a node for so long; what was found, JSON-ready.

    Args:
        faults: What may be injected; those that no soak bears are left out.
        seconds: How long.
        rng: Of everything.
        progress: Counts minutes.

    Raises:
        ChildFailedError: The system did not come up, or never got well again.
    """
    chosen = [fault for fault in faults if fault.soak and fault.name != _HUNG_EMBEDDED]
    results: list[Result] = []
    quiet_sent = quiet_lost = 0
    async with temporary_stand(NODE, rng) as present:
        sampler = Sampler(present)
        sampling = asyncio.create_task(sampler.run())
        begun, minutes = time.monotonic(), 0
        try:
            while time.monotonic() - begun < seconds:
                early = time.monotonic() - begun < _RENEWING_SHARE * seconds
                open_to = [one for one in chosen if early or not one.renews] or chosen
                fault = open_to[int(rng.integers(len(open_to)))]
                load = float(rng.uniform(*_LOADS))
                progress.begin(f"{fault.name}, at {load:.1f} times the usual load")
                sent, lost = await _quiet(present, load, float(rng.uniform(*_QUIET_SECONDS)))
                quiet_sent, quiet_lost = quiet_sent + sent, quiet_lost + lost
                result = await inject(fault, present, rng, load=load)
                results.append(result)
                for check in result.checks:
                    if not check.held:
                        progress.say(f"  {fault.name}: {check.what}: {check.detail}")
                passed = int((time.monotonic() - begun) / 60)
                progress.done(passed - minutes)
                minutes = passed
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling
        lasted = time.monotonic() - begun
    growths = {
        (name, what): growth(samples, what) for name, samples in sampler.samples.items() for what in samples[0].values
    }
    return _findings(results, growths, lasted, quiet_sent, quiet_lost)


async def _quiet(present: Stand, load: float, seconds: float) -> tuple[int, int]:
    """Load alone; requests sent and lost."""
    present.load.start(load)
    await asyncio.sleep(seconds)
    requests = await present.load.finish()
    return len(requests.intended), int((~requests.good).sum())


def _findings(
    results: Sequence[Result], growths: dict[tuple[str, str], Growth], lasted: float, sent: int, lost: int
) -> dict[str, Any]:
    wrong = [
        f"{result.fault}: {check.what}: {check.detail}"
        for result in results
        for check in result.checks
        if not check.held
    ]
    if lost:
        wrong.append(f"between faults {lost} of {sent} requests were lost")
    wrong += [
        f"{what} of the {name} grows by {one.per_hour:.1f} an hour, certainly by more than {FLAT[what]:g}"
        for (name, what), one in growths.items()
        if one.low > FLAT[what]
    ]
    return {
        "seconds": lasted,
        "faults": dict(Counter(result.fault for result in results)),
        "requests": sent + sum(result.losses.sent for result in results),
        "lost": lost + sum(result.losses.lost for result in results),
        "in_hand": sum(result.losses.in_hand for result in results),
        "unserved": sum(result.losses.unserved for result in results),
        "acknowledged": max((result.acknowledged for result in results), default=0),
        "growth": [
            {
                "of": name,
                "what": what,
                **{key: _number(getattr(one, key)) for key in ("last", "per_hour", "low", "high")},
            }
            for (name, what), one in growths.items()
        ],
        "wrong": wrong,
    }


def _number(value: float) -> float | None:
    return None if value != value else value


def soak_tables(found: dict[str, Any]) -> list[Table]:
    """For people."""
    summary = [
        ["minutes", f"{found['seconds'] / 60:.1f}"],
        ["faults injected", f"{sum(found['faults'].values())} of {len(found['faults'])} kinds"],
        ["requests", str(found["requests"])],
        ["lost", str(found["lost"])],
        ["of them in hand of a process killed with −9", str(found["in_hand"])],
        ["of them come while Envoy was dead", str(found["unserved"])],
        ["decisions that were acknowledged, none of which may be lost", str(found["acknowledged"])],
        ["what did not hold", str(len(found["wrong"]))],
    ]
    rows = [
        [
            f"{one['of']}: {one['what']}",
            "–" if one["last"] is None else f"{one['last']:.1f}",
            "–" if one["per_hour"] is None else f"{one['per_hour']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]",
        ]
        for one in found["growth"]
    ]
    note = (
        "Slope within lifetimes of a process, its first five minutes left out, with the 90 % interval; – where no life "
        "was long enough."
    )
    return [
        Table("Soak", ["what", "how much"], summary),
        Table("Growth during the soak", ["of", "in the end", "an hour"], rows, note),
    ]
