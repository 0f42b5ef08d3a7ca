"""Plan: which policy steers under which load, and when its turn is. Pure.

A *cell* is a kind of arrivals at a level; a *turn* is one policy in one cell of one repeat. All policies of a cell and
repeat meet the same arrivals, one after another in an order drawn anew each time, so that a drift of the machine falls
on none of them in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from service.domain.errors import InvalidValueError

#: Kinds of arrivals: loads that change in steps, Gamma renewals with many bursts, a recorded trace.
STEP, GAMMA, TRACE = SCHEDULES = ("step", "gamma", "trace")

#: The objective: the p99 is at most this many times the least p99 of the likely configurations at the cell's highest
#: rate, and at least :data:`LEAST_BOUND_SECONDS`.
SLACK = 2.0
LEAST_BOUND_SECONDS = 0.010
#: A run begins once the machine works less than this share of its time, or after some patience. One during which
#: others used more of it is made again, at most so often in all; the quietest counts.
QUIET_SHARE = 0.12
PATIENCE_SECONDS = 60.0
ATTEMPTS = 3
#: Seconds round a run: the steering process starts, the default comes back, the machine falls quiet.
OVERHEAD_SECONDS = 9.0


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A load.

    Attributes:
        schedule: One of :data:`SCHEDULES`.
        percent: Its highest step, or its mean rate where it has no steps, in percent of the capacity.
    """

    schedule: str
    percent: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``step-60``.

        Raises:
            InvalidValueError: It is none.
        """
        schedule, _, percent = text.strip().partition("-")
        if schedule not in SCHEDULES or not percent.isdigit() or not 1 <= int(percent) <= 200:
            raise InvalidValueError(
                "cells", f"{text!r} is no cell: one of {', '.join(SCHEDULES)}, and a level in percent, as in step-60"
            )
        return cls(schedule, int(percent))

    @property
    def key(self) -> str:
        """As it is written on the command line and in files."""
        return f"{self.schedule}-{self.percent}"

    def rng(self, seed: int, repeat: int) -> np.random.Generator:
        """Draws this cell's arrivals, whichever other cells there are."""
        return np.random.default_rng([seed, repeat, SCHEDULES.index(self.schedule), self.percent])


#: The cells of a whole run.
CELLS = (Cell(STEP, 30), Cell(STEP, 60), Cell(STEP, 90), Cell(GAMMA, 60), Cell(TRACE, 60))


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of one policy.

    Attributes:
        repeat: Number of the repeat, from 0.
        cell: The load.
        policy: Who steers.
    """

    repeat: int
    cell: Cell
    policy: str


def turns(cells: Sequence[Cell], policies: Sequence[str], repeats: int, seed: int) -> list[Turn]:
    """All turns in the order in which they are to be taken."""
    found = []
    for repeat in range(repeats):
        for cell in cells:
            order = np.random.default_rng([seed, repeat, SCHEDULES.index(cell.schedule), cell.percent, 1])
            found += [Turn(repeat, cell, policies[i]) for i in order.permutation(len(policies))]
    return found


def bound_of(tails: Sequence[float]) -> float:
    """The bound that follows from the p99 of some configurations, seconds, to a tenth of a millisecond."""
    return max(round(SLACK * min(tails), 4), LEAST_BOUND_SECONDS)


def expected_seconds(runs: int, run_seconds: float) -> float:
    """About how long so many runs take."""
    return runs * (run_seconds + OVERHEAD_SECONDS)
