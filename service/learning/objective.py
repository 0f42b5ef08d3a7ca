"""Objective: one number for how well a window did, in two stages: meet the SLO first, then improve.

Notation: ``t`` tail latency at the objective's percentile, ``B`` the bound, ``ℓ`` share of requests lost.

    s = ln(t / B)                                   below 0 the objective is met
    s = max(s, 0) + LOSS_STEP + 2 ℓ                 where ℓ breaks the target ratio: a violation, however fast the rest
    score = s                 for s ≤ k
          = k + ln(1 + s − k) for s > k,            k = 1 + max(0, ln(least tail known / B))

Differences of scores are relative differences of latency. Above the knee k they are compressed: a server that drowns
shows latencies that say how long the window was rather than how good the configuration is, and such cliffs would
otherwise rule the surrogate. The map is strictly increasing, so scores can be read back as latencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.histogram import Interval
from service.domain.slo import Slo
from service.learning.history import Measurement

#: Windows of one configuration differ by more than their sampling error: standard deviation of the logarithm.
WINDOW_NOISE = 0.03
#: Standard deviation given to a tail that lies above the last bucket, of which only a lower limit is known.
OVERFLOW_NOISE = 0.5
#: Score added to a window that loses more requests than the target ratio allows.
LOSS_STEP = 1.0

_Z90 = 1.645


@dataclass(frozen=True, slots=True)
class Score:
    """A score with the standard deviation of its error; lower is better, ≤ 0 meets the objective."""

    value: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Objective:
    """Turns windows into scores and scores into latencies.

    Attributes:
        slo: What is to be met.
        knee: The score above which differences are compressed.
    """

    slo: Slo
    knee: float = 1.0

    @classmethod
    def over(cls, slo: Slo, least_tail: float | None) -> Objective:
        """The objective where ``least_tail`` seconds is the least tail known, if any."""
        above = math.log(least_tail / slo.bound_seconds) if least_tail else 0.0
        return cls(slo, 1.0 + max(0.0, above))

    def score(self, measurement: Measurement) -> Score:
        """Score of one window."""
        if measurement.latency.count == 0:
            value, sigma = 0.0, OVERFLOW_NOISE
        else:
            tail = measurement.latency.quantile_interval(self.slo.percentile)
            value = math.log(max(tail.value, 1e-9) / self.slo.bound_seconds)
            if math.isfinite(tail.high):
                spread = (math.log(tail.high) - math.log(max(tail.low, 0.25 * tail.value, 1e-9))) / (2 * _Z90)
                sigma = math.hypot(WINDOW_NOISE, spread)
            else:
                sigma = OVERFLOW_NOISE
        if measurement.loss_ratio > 1 - self.slo.target_ratio:
            value = max(value, 0.0) + LOSS_STEP + 2 * measurement.loss_ratio
        return self._compressed(value, sigma)

    def scores_of_tails(self, log_tails: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of tails without loss.

        Args:
            log_tails: Logarithms of seconds, any shape.
        """
        value = log_tails - math.log(self.slo.bound_seconds)
        beyond = np.maximum(value - self.knee, 0.0)
        scores: NDArray[np.float64] = np.where(value <= self.knee, value, self.knee + np.log1p(beyond))
        return scores

    def seconds(self, score: float) -> float:
        """The tail latency a score stands for."""
        if score > self.knee:
            score = self.knee + math.expm1(min(score - self.knee, 5.0))
        return self.slo.bound_seconds * math.exp(min(score, 50.0))

    def interval(self, mean: float, sigma: float) -> Interval:
        """The central 90 % of a normal belief about the score, as latencies in seconds."""
        low, value, high = (self.seconds(mean + z * sigma) for z in (-_Z90, 0.0, _Z90))
        return Interval(low, value, high)

    def _compressed(self, value: float, sigma: float) -> Score:
        if value <= self.knee:
            return Score(value, sigma)
        beyond = 1 + value - self.knee
        return Score(self.knee + math.log(beyond), sigma / beyond)
