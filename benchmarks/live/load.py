"""Load of a cell: when requests are sent. The same seed gives the same arrivals to every policy.

- ``step``: a Poisson process whose rate follows RRL's own schedule, its highest step at the cell's level.
- ``gamma``: Gamma renewals with a coefficient of variation of 4, their mean rate at the level.
- ``trace``: the gaps of recorded arrivals from a random place on, round and round where the trace ends, all stretched
  by one factor so that the mean rate is at the level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.live.plan import GAMMA, STEP, Cell
from service.domain.errors import InvalidValueError
from service.loadgen.arrivals import Gamma, Poisson
from service.loadgen.schedules import Phase, constant, rrl_steps
from service.loadgen.traces import Trace

#: Coefficient of variation of the gaps of ``gamma``.
CV = 4.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Send times that were drawn beforehand, as a source of a load plan; it is reported by thirds.

    Attributes:
        times: Ascending, in [0, duration), seconds; shape (requests,).
        duration: Seconds.
    """

    times: Floats
    duration: float

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The thirds of the run."""
        third = self.duration / 3
        return tuple(Phase(f"third {i + 1}", i * third, (i + 1) * third) for i in range(3))

    def send_times(self, rng: np.random.Generator) -> Floats:
        """As drawn."""
        return self.times


def arrivals(cell: Cell, capacity: float, seconds: float, rng: np.random.Generator, trace: Trace | None) -> Arrivals:
    """What a run of the cell sends.

    Args:
        cell: The load.
        capacity: What its level is a share of, requests a second.
        seconds: Length.
        rng: Draws.
        trace: Recorded arrivals, for a cell of them.

    Raises:
        InvalidValueError: The cell needs a trace and there is none.
    """
    rate = capacity * cell.percent / 100
    if cell.schedule == STEP:
        return Arrivals(Poisson().times(rrl_steps(rate, seconds), rng), seconds)
    return Arrivals(_steady(cell, rate, seconds, rng, trace), seconds)


def hardest(cell: Cell, capacity: float, seconds: float, rng: np.random.Generator, trace: Trace | None) -> Arrivals:
    """The cell's highest rate, held: what a look at a configuration sends. Arguments as of :func:`arrivals`."""
    return Arrivals(_steady(cell, capacity * cell.percent / 100, seconds, rng, trace), seconds)


def _steady(cell: Cell, rate: float, seconds: float, rng: np.random.Generator, trace: Trace | None) -> Floats:
    if cell.schedule == STEP:
        return Poisson().times(constant(rate, seconds), rng)
    if cell.schedule == GAMMA:
        return Gamma(CV).times(constant(rate, seconds), rng)
    if trace is None:
        raise InvalidValueError("trace", f"{cell.key} replays recorded arrivals: name a CSV file of them with --trace")
    return of_trace(trace, rate, seconds, rng)


def of_trace(trace: Trace, rate: float, seconds: float, rng: np.random.Generator) -> Floats:
    """``rate`` × ``seconds`` consecutive arrivals of a trace, stretched to ``seconds``; shape (requests,)."""
    count = max(round(rate * seconds), 1)
    gaps = np.diff(trace.times, append=trace.duration)
    taken = gaps[(int(rng.integers(len(gaps))) + np.arange(count)) % len(gaps)]
    times = np.concatenate([[0.0], np.cumsum(taken[:-1])])
    stretched: Floats = times * (seconds / taken.sum())
    return stretched[stretched < seconds]
