"""Scenario: which recorded load each window of a run has. Pure.

All loads of a scenario are of one model. ``stationary`` keeps one load; the others change it, so that what was learned
before is worth less, or worth something again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

#: Kinds of scenario in the order in which they are reported.
KINDS = ("stationary", "step", "return", "spike", "diurnal")
DEFAULT_WINDOWS = 100
#: Days in a diurnal run.
_DAYS = 2


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive windows under one load: from window ``start`` (from 0) up to, not including, ``end``."""

    landscape: str
    start: int
    end: int

    @property
    def windows(self) -> int:
        """How many."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Scenario:
    """The loads of a run.

    Attributes:
        kind: One of :data:`KINDS`.
        group: What it is about: the landscape of a stationary run, else the model.
        schedule: Name of the landscape of each window.
    """

    kind: str
    group: str
    schedule: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique among the scenarios of a benchmark."""
        return f"{self.kind}:{self.group}"

    @property
    def landscapes(self) -> tuple[str, ...]:
        """The landscapes in the order in which they first appear."""
        return tuple(dict.fromkeys(self.schedule))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Stretches of one load."""
        found, start = [], 0
        for landscape, run in groupby(self.schedule):
            end = start + sum(1 for _ in run)
            found.append(Phase(landscape, start, end))
            start = end
        return tuple(found)


def scenarios(
    loads: Mapping[str, Sequence[str]], kinds: Sequence[str] = KINDS, windows: int = DEFAULT_WINDOWS
) -> tuple[Scenario, ...]:
    """Every scenario that these landscapes allow.

    Args:
        loads: For each model its landscapes, the lightest load first.
        kinds: Of :data:`KINDS`.
        windows: Length of a run.
    """
    found = []
    for kind in KINDS:
        if kind not in kinds:
            continue
        for model, names in loads.items():
            if kind == "stationary":
                found += [Scenario(kind, name, (name,) * windows) for name in names]
            elif len(names) > 1:
                found.append(Scenario(kind, model, _changing(kind, names, windows)))
    return tuple(found)


def _changing(kind: str, names: Sequence[str], windows: int) -> tuple[str, ...]:
    if kind == "diurnal":
        return _diurnal(names, windows)
    light, heavy = names[0], names[-1]
    # Shares of the run, and the load in each.
    parts = {
        "step": ((0.5, light), (0.5, heavy)),
        "return": ((0.5, light), (0.3, heavy), (0.2, light)),
        "spike": ((0.5, light), (0.05, heavy), (0.2, light), (0.05, heavy), (0.2, light)),
    }[kind]
    ends = [round(sum(share for share, _ in parts[: i + 1]) * windows) for i in range(len(parts))]
    starts = [0, *ends[:-1]]
    return tuple(name for start, end, (_, name) in zip(starts, ends, parts, strict=True) for _ in range(end - start))


def _diurnal(names: Sequence[str], windows: int) -> tuple[str, ...]:
    """A sinusoid over the loads; where it lies between two recorded ones, windows of both take turns in its share."""
    schedule, owed = [], 0.0
    for window in range(windows):
        level = (len(names) - 1) * (0.5 - 0.5 * math.cos(2 * math.pi * _DAYS * window / windows))
        below = min(math.floor(level), len(names) - 2)
        owed += level - below
        above = owed >= 0.5
        owed -= above
        schedule.append(names[below + above])
    return tuple(schedule)
