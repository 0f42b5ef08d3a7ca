"""Schedules: the mean arrival rate as a function of time.

A schedule is piecewise constant. Arrival processes are laid over it by time rescaling: events of unit rate in
"operational time" u are sent at t = Λ⁻¹(u), with Λ(t) the integral of the rate, so that any process keeps its kind
while its rate follows the schedule.

Notation: segment i covers [edges[i], edges[i + 1]) at rates[i]; all times in seconds from the start of the run, all
rates in requests a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import InvalidValueError

#: RRL's published schedule: (first step, mean inter-arrival time in seconds), of 3000 steps (SC-RRL/RRL on GitHub).
RRL_STEPS = ((0, 0.07), (800, 0.06), (1300, 0.07), (2000, 0.10), (2400, 0.12))
RRL_LENGTH = 3000

#: Segments in which a smooth curve is drawn; a day at this resolution changes every seven minutes.
CURVE_SEGMENTS = 200


@dataclass(frozen=True, slots=True)
class Phase:
    """A named stretch of a run, reported on its own.

    Attributes:
        name: For people.
        start: When it begins, seconds from the start of the run.
        end: When it ends.
    """

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """Mean rate over time, piecewise constant.

    Attributes:
        edges: Ascending times at which the rate changes, the first 0, the last the duration; shape (n + 1,).
        rates: Rate between two edges; shape (n,).
        phases: Stretches to report on their own; they cover the whole duration.

    Raises:
        InvalidValueError: Shapes, order, signs are wrong, or no request would ever be sent.
    """

    edges: tuple[float, ...]
    rates: tuple[float, ...]
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.rates) + 1 or self.edges[0] != 0:
            raise InvalidValueError("edges", "must start at 0 and be one more than the rates")
        if not all(math.isfinite(e) for e in self.edges) or any(b <= a for a, b in pairwise(self.edges)):
            raise InvalidValueError("duration", "every part of a schedule must last longer than 0 s")
        if not all(math.isfinite(r) and r >= 0 for r in self.rates):
            raise InvalidValueError("rate", "must be a finite number ≥ 0")
        if not any(self.rates):
            raise InvalidValueError("rate", "must be above 0 somewhere; this schedule never sends")

    @property
    def duration(self) -> float:
        """Length, seconds."""
        return self.edges[-1]

    @cached_property
    def cumulative(self) -> NDArray[np.float64]:
        """Λ at each edge: expected requests until then, shape (n + 1,)."""
        return np.concatenate(([0.0], np.cumsum(np.diff(self.edges) * np.asarray(self.rates))))

    @property
    def expected_requests(self) -> float:
        """Λ(duration)."""
        return float(self.cumulative[-1])

    def rate_at(self, t: float) -> float:
        """Rate at time ``t``; 0 outside the schedule."""
        if not 0 <= t < self.duration:
            return 0.0
        return self.rates[int(np.searchsorted(self.edges, t, side="right")) - 1]

    def invert(self, operational: NDArray[np.float64]) -> NDArray[np.float64]:
        """Λ⁻¹: real times of events given in operational time, each in [0, Λ(duration))."""
        segment = np.searchsorted(self.cumulative, operational, side="right") - 1
        edges, rates = np.asarray(self.edges), np.asarray(self.rates)
        times: NDArray[np.float64] = edges[segment] + (operational - self.cumulative[segment]) / rates[segment]
        return times

    def modulated(self, edges: Sequence[float], factors: Sequence[float]) -> Schedule:
        """This rate times a piecewise constant factor, ``factors[i]`` from ``edges[i]`` on; phases stay."""
        starts = np.union1d(np.asarray(self.edges[:-1]), [e for e in edges if 0 < e < self.duration])
        own = np.asarray(self.rates)[np.searchsorted(self.edges, starts, side="right") - 1]
        factor = np.asarray(factors)[np.searchsorted(edges, starts, side="right") - 1]
        return Schedule((*starts.tolist(), self.duration), tuple((own * factor).tolist()), self.phases)


def steps(parts: Sequence[tuple[float, float]], names: Sequence[str] | None = None) -> Schedule:
    """One phase for each (duration in seconds, rate).

    Raises:
        InvalidValueError: There are no parts, or one has a bad duration or rate.
    """
    if not parts:
        raise InvalidValueError("schedule", "needs at least one step")
    edges = (0.0, *np.cumsum([duration for duration, _ in parts]).tolist())
    labels = names or [f"{rate:.4g}/s" for _, rate in parts]
    phases = tuple(Phase(name, a, b) for name, (a, b) in zip(labels, pairwise(edges), strict=True))
    return Schedule(edges, tuple(rate for _, rate in parts), phases)


def constant(rate: float, duration: float) -> Schedule:
    """The same rate throughout."""
    return steps([(duration, rate)])


def rrl_steps(peak_rate: float, duration: float) -> Schedule:
    """RRL's own step schedule, scaled: its changes at the same fractions of ``duration``, ``peak_rate`` its highest."""
    shortest = min(gap for _, gap in RRL_STEPS)
    starts = [*(start for start, _ in RRL_STEPS), RRL_LENGTH]
    return steps(
        [
            (duration * (end - start) / RRL_LENGTH, peak_rate * shortest / gap)
            for (start, end), (_, gap) in zip(pairwise(starts), RRL_STEPS, strict=True)
        ]
    )


def diurnal(
    mean_rate: float,
    duration: float,
    rng: np.random.Generator,
    *,
    period: float | None = None,
    amplitude: float = 0.5,
    noise: float = 0.05,
) -> Schedule:
    """A day: a sinusoid that starts at its trough, with noise; four phases of equal length.

    Args:
        mean_rate: Mean of the sinusoid.
        duration: Seconds.
        rng: Draws the noise.
        period: Length of one day in seconds; the whole duration when None.
        amplitude: Swing as a fraction of the mean, 0 … 1.
        noise: Standard deviation of each segment's relative, independent deviation; the rate never falls below 0.

    Raises:
        InvalidValueError: A value is out of range.
    """
    if not 0 <= amplitude <= 1:
        raise InvalidValueError("amplitude", f"is a fraction of the mean rate in [0, 1], not {amplitude}")
    if not 0 <= noise <= 1:
        raise InvalidValueError("noise", f"is a relative deviation in [0, 1], not {noise}")
    if period is not None and not period > 0:
        raise InvalidValueError("period", f"must be above 0 s, not {period}")
    edges = np.linspace(0.0, duration, CURVE_SEGMENTS + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    wave = 1 - amplitude * np.cos(2 * np.pi * middle / (period or duration))
    rates = np.maximum(mean_rate * wave * (1 + noise * rng.standard_normal(CURVE_SEGMENTS)), 0.0)
    quarters = tuple(Phase(f"quarter {i + 1}", duration * i / 4, duration * (i + 1) / 4) for i in range(4))
    return Schedule(tuple(edges.tolist()), tuple(rates.tolist()), quarters)


def spike(base_rate: float, duration: float, *, at: float, length: float, factor: float) -> Schedule:
    """``base_rate``, but ``factor`` times as much for ``length`` seconds from ``at`` on.

    Raises:
        InvalidValueError: The spike does not lie inside the run, or ``factor`` is negative.
    """
    if not (at > 0 and length > 0 and at + length < duration):
        raise InvalidValueError("spike", f"{length:g} s from {at:g} s on must lie inside the run of {duration:g} s")
    parts = [(at, base_rate), (length, base_rate * factor), (duration - at - length, base_rate)]
    return steps(parts, ["before", "spike", "after"])
