"""Arrival processes: when requests are sent, given the schedule of their mean rate.

Gamma renewals (shape 1/CV², scale CV²/λ) and the two-state Markov-modulated Poisson process (mean rate
(λ₁r₂₁ + λ₂r₁₂)/(r₁₂ + r₂₁)) are the usual models of bursty inference traffic. All processes start in equilibrium, so
that a short run has the same mean rate as a long one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import InvalidValueError
from service.loadgen.schedules import Phase, Schedule

#: More than this many requests in one run is taken for a slip of the pen (a hundred million floats are 0.8 GB).
MAX_REQUESTS = 100_000_000

Draw = Callable[[int], NDArray[np.float64]]


class ArrivalProcess(Protocol):
    """A kind of randomness, without a rate of its own."""

    def times(self, schedule: Schedule, rng: np.random.Generator) -> NDArray[np.float64]:
        """Send times, ascending, in [0, schedule.duration), whose mean rate follows ``schedule``."""
        ...


@dataclass(frozen=True, slots=True)
class Regular:
    """Evenly spaced (CV 0)."""

    def times(self, schedule: Schedule, rng: np.random.Generator) -> NDArray[np.float64]:
        """The phase is random, as it is for all processes in equilibrium."""
        first = rng.uniform()
        count = max(0, math.ceil(schedule.expected_requests - first))
        return schedule.invert(first + np.arange(count, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals (CV 1)."""

    def times(self, schedule: Schedule, rng: np.random.Generator) -> NDArray[np.float64]:
        """Exponential gaps in operational time: an inhomogeneous Poisson process under a varying rate."""
        return _renewals(schedule, float(rng.exponential()), lambda n: rng.exponential(size=n))


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma renewals: gaps with a coefficient of variation of one's choice.

    Attributes:
        cv: Standard deviation of the gaps over their mean; 1 is Poisson, more is burstier.

    Raises:
        InvalidValueError: ``cv`` is not in [0.01, 100].
    """

    cv: float

    def __post_init__(self) -> None:
        if not 0.01 <= self.cv <= 100:
            raise InvalidValueError("cv", f"must lie in [0.01, 100], not {self.cv}")

    def times(self, schedule: Schedule, rng: np.random.Generator) -> NDArray[np.float64]:
        """The first gap is the residual of a length-biased one (Gamma of shape k + 1, cut uniformly)."""
        shape, scale = self.cv**-2, self.cv**2
        first = float(rng.uniform() * rng.gamma(shape + 1, scale))
        return _renewals(schedule, first, lambda n: rng.gamma(shape, scale, size=n))


@dataclass(frozen=True, slots=True)
class Mmpp:
    """Two-state Markov-modulated Poisson process: quiet and burst, each for an exponential time.

    The schedule gives the mean over both states; the states' own rates follow from ``ratio`` and the mean stays.

    Attributes:
        ratio: Rate in a burst over the rate when quiet, ≥ 1.
        burst: Mean length of a burst, seconds.
        quiet: Mean length of a quiet stretch, seconds.

    Raises:
        InvalidValueError: A value is out of range.
    """

    ratio: float = 5.0
    burst: float = 1.0
    quiet: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.ratio <= 1e6:
            raise InvalidValueError("ratio", f"is the burst rate over the quiet rate, ≥ 1, not {self.ratio}")
        for name in ("burst", "quiet"):
            value = getattr(self, name)
            if not 1e-3 <= value <= 1e6:
                raise InvalidValueError(name, f"is a mean length in seconds in [0.001, 1e6], not {value}")

    @property
    def burst_share(self) -> float:
        """Share of the time spent in bursts."""
        return self.burst / (self.burst + self.quiet)

    def factors(self) -> tuple[float, float]:
        """Rate when quiet and in a burst, relative to the mean."""
        quiet = 1 / (1 - self.burst_share + self.ratio * self.burst_share)
        return quiet, self.ratio * quiet

    def times(self, schedule: Schedule, rng: np.random.Generator) -> NDArray[np.float64]:
        """Poisson under the schedule's rate times the state's factor; the first state has its stationary share."""
        bursting = bool(rng.uniform() < self.burst_share)
        quiet_factor, burst_factor = self.factors()
        now, edges, factors = 0.0, [], []
        while now < schedule.duration:
            edges.append(now)
            factors.append(burst_factor if bursting else quiet_factor)
            now += float(rng.exponential(self.burst if bursting else self.quiet))
            bursting = not bursting
        return Poisson().times(schedule.modulated(edges, factors), rng)


def _renewals(schedule: Schedule, first: float, draw: Draw) -> NDArray[np.float64]:
    """Renewals of unit rate from ``first`` on, laid over the schedule; ``draw`` gives gaps of mean 1."""
    end = schedule.expected_requests
    chunks = [np.array([first])]
    while (last := float(chunks[-1][-1])) < end:
        count = int((end - last) * 1.05) + 64
        chunks.append(last + np.cumsum(draw(count)))
    operational = np.concatenate(chunks)
    return schedule.invert(operational[operational < end])


@dataclass(frozen=True)
class ScheduledArrivals:
    """A process laid over a schedule: what a synthetic run sends.

    Raises:
        InvalidValueError: More requests than :data:`MAX_REQUESTS`.
    """

    process: ArrivalProcess
    schedule: Schedule

    def __post_init__(self) -> None:
        if self.schedule.expected_requests > MAX_REQUESTS:
            raise InvalidValueError("rate", f"{self.schedule.expected_requests:.3g} requests are too many for one run")

    @property
    def duration(self) -> float:
        """Length of the run, seconds."""
        return self.schedule.duration

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Stretches to report on their own."""
        return self.schedule.phases

    def send_times(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Intended send times, ascending, seconds from the start."""
        return self.process.times(self.schedule, rng)
