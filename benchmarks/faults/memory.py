"""Memory: what processes hold, sampled over time, and whether it grows.

A process that is killed and started again begins anew, so growth is looked for within lifetimes: the slope is common
to all of them, the level each one's own. The first five minutes of a life are not counted: caches fill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

SETTLING_SECONDS = 300.0
_CONFIDENCE = 0.9
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One look.

    Attributes:
        at: Monotonic seconds.
        life: Which process; another one after a restart.
        values: By what was counted.
    """

    at: float
    life: int
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """How fast something grows, with the interval that is meant to cover it in 90 % of runs; NaN with too few samples.

    Attributes:
        per_hour: Best estimate.
        low: Lower end.
        high: Upper end.
        last: The newest value.
    """

    per_hour: float
    low: float
    high: float
    last: float


def look(pid: int) -> dict[str, float] | None:
    """Memory, open files and threads of a process; None where it has ended."""
    proc = Path(f"/proc/{pid}")
    try:
        lines = (proc / "status").read_text(encoding="ascii", errors="replace").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        files = sum(1 for _ in (proc / "fd").iterdir())
        return {
            "memory MB": int(fields["VmRSS"].split()[0]) / 1024,
            "open files": float(files),
            "threads": float(fields["Threads"]),
        }
    except (OSError, KeyError, ValueError):
        return None


def growth(samples: Sequence[Sample], what: str) -> Growth:
    """The slope of one value over all lifetimes.

    Its interval takes neighbouring samples for as alike as they are: what is left after the fit, shifted by one sample,
    correlates with itself by r, and n samples count as n·(1−r)/(1+r).
    """
    begins: dict[int, float] = {}
    for sample in samples:
        begins.setdefault(sample.life, sample.at)
    kept = [one for one in samples if one.at - begins[one.life] >= SETTLING_SECONDS and what in one.values]
    last = samples[-1].values.get(what, math.nan) if samples else math.nan
    lives = sorted({one.life for one in kept})
    if len(kept) < _FEWEST + len(lives):
        return Growth(math.nan, math.nan, math.nan, last)
    at = np.array([one.at for one in kept]) / 3600
    value = np.array([one.values[what] for one in kept])
    group = np.array([one.life for one in kept])
    for life in lives:
        mine = group == life
        at[mine] -= at[mine].mean()
        value[mine] -= value[mine].mean()
    spread = float(at @ at)
    slope = float(at @ value) / spread if spread > 0 else 0.0
    rest = value - slope * at
    freedom = len(kept) - len(lives) - 1
    variance = float(rest @ rest) / freedom
    alike = float(rest[1:] @ rest[:-1]) / float(rest @ rest) if variance > 0 else 0.0
    alike = min(max(alike, 0.0), 0.98)
    error = math.sqrt(variance / spread * (1 + alike) / (1 - alike)) if spread > 0 else 0.0
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, freedom)) * error
    return Growth(slope, slope - reach, slope + reach, last)
