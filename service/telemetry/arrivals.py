"""Arrivals: rate and burstiness of the load between readings.

Where the server keeps the moments of the times between arrivals, their coefficient of variation is exact. Elsewhere
it follows from counts: for a renewal process the variance of the number of arrivals in an interval over its mean
tends to cv² (Cox and Lewis, The Statistical Analysis of Series of Events, 1966, section 4.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from service.telemetry.reading import Interarrivals, Reading

#: What is assumed while there is too little to tell: a Poisson process.
DEFAULT_CV = 1.0

#: Fewer gaps between arrivals say nothing of their spread.
MIN_GAPS = 30

#: Fewer intervals say nothing of the spread of their counts (8 give a standard error of half the index).
MIN_INTERVALS = 8

#: Intervals that hold fewer arrivals on average are mostly rounding.
MIN_ARRIVALS_PER_INTERVAL = 5.0


def coefficient_of_variation(readings: Sequence[Reading]) -> float:
    """Coefficient of variation of the times between arrivals, from consecutive readings of one process."""
    first, last = readings[0], readings[-1]
    if last.interarrivals is not None:
        before = first.interarrivals or Interarrivals(0, 0.0, 0.0)
        return _cv_of_moments(last.interarrivals.minus(before))
    return _cv_of_counts(
        [later.arrivals - earlier.arrivals for earlier, later in pairwise(readings)],
        [later.monotonic - earlier.monotonic for earlier, later in pairwise(readings)],
    )


def _cv_of_moments(gaps: Interarrivals) -> float:
    if gaps.count < MIN_GAPS or gaps.total <= 0:
        return DEFAULT_CV
    mean = gaps.total / gaps.count
    variance = max(gaps.total_of_squares / gaps.count - mean * mean, 0.0)
    return math.sqrt(variance) / mean


def _cv_of_counts(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """Square root of the index of dispersion; intervals may differ in length."""
    total = sum(counts)
    if len(counts) < MIN_INTERVALS or total < MIN_ARRIVALS_PER_INTERVAL * len(counts):
        return DEFAULT_CV
    rate = total / sum(seconds)
    index = sum((n - rate * t) ** 2 / (rate * t) for n, t in zip(counts, seconds, strict=True)) / (len(counts) - 1)
    return math.sqrt(index)
