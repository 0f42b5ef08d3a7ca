"""Stationarity: whether a stretch of time was of one piece, or the load or the latency changed within it.

One test for a change at an unknown moment, applied to three series. Notation: the stretch has K intervals between
readings; interval k holds a_k events out of an exposure b_k, and A, B are their sums.

1. Under no change y_k = a_k − (A/B)·b_k wanders about 0. C_j = y_1 + … + y_j is a bridge from 0 to 0 with variance
   σ²·K·t(1−t), t = j/K. The largest |C_j| in units of its own deviation tells where a change is most likely, and by
   Bonferroni over the K − 1 places whether chance explains it (the weighted CUSUM test; Csörgő and Horváth, Limit
   Theorems in Change-Point Analysis, 1997).
2. σ² is the long-run variance of y, taken from differences of neighbouring blocks (von Neumann), which a step does not
   inflate: the largest over blocks of 1, 2, 4, … intervals, so that bursts and busy periods, which last several
   intervals, count as noise; and at least the variance of a Poisson or binomial count.
3. What is significant may still be small. A change counts only if it also matters: the rate differs by a fifth, or the
   distributions of latency before and after are three tenths apart (Kolmogorov's distance).

Series: arrivals out of seconds; requests slower than the stretch's median out of requests; the same with its 90th
percentile, which sees a short backlog at the edge of the stretch.

What it cannot tell apart: near saturation a queue wanders by itself for many service times (M/M/1: about
service / (1 − √utilisation)²). Where that is not short against the stretch, the wandering is called movement; rightly
so, because such a stretch does not show the tail that the next one will.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from service.telemetry.reading import Reading

#: With fewer intervals there is too little to tell.
MIN_INTERVALS = 4

#: With fewer blocks the differences between them do not give a variance.
MIN_BLOCKS = 8

#: Chance that one of the three tests calls chance a change.
FALSE_ALARM = 0.002

#: A change nearer to either end of the stretch than this share of it is a burst, not a change.
MARGIN = 0.1

#: A change of rate that matters to the choice of a configuration.
MIN_RATE_RATIO = 1.2

#: A distance between distributions of latency that matters.
MIN_DISTANCE = 0.3

#: Which latencies the stretch is divided at.
SPLITS = (0.5, 0.9)

Array = NDArray[np.float64]


class Trend(StrEnum):
    """How something moved within a window."""

    STEADY = "steady"
    RISING = "rising"
    FALLING = "falling"


@dataclass(frozen=True, slots=True)
class Stationarity:
    """What moved within a window.

    Attributes:
        rate: The rate of arrivals.
        latency: The latency of requests. RISING under a steady rate is an overload building up: a window that
            violates its objective while it rises may be judged at once. FALLING is a backlog that drains: wait.
    """

    rate: Trend = Trend.STEADY
    latency: Trend = Trend.STEADY

    @property
    def steady(self) -> bool:
        """Whether nothing moved."""
        return self.rate is Trend.STEADY and self.latency is Trend.STEADY


def assess(readings: Sequence[Reading]) -> Stationarity:
    """What moved between the first and the last of consecutive readings of one server process."""
    if len(readings) <= MIN_INTERVALS:
        return Stationarity()
    seconds = np.diff([reading.monotonic for reading in readings])
    arrivals = np.diff([float(reading.arrivals) for reading in readings])
    return Stationarity(_rate_trend(arrivals, seconds), _latency_trend(_latency_counts(readings)))


def _rate_trend(arrivals: Array, seconds: Array) -> Trend:
    if arrivals.sum() == 0:
        return Trend.STEADY
    split = _change(arrivals, seconds, float(arrivals.mean()))
    if split is None:
        return Trend.STEADY
    before = arrivals[:split].sum() / seconds[:split].sum()
    after = arrivals[split:].sum() / seconds[split:].sum()
    if max(before, after) < MIN_RATE_RATIO * min(before, after):
        return Trend.STEADY
    return Trend.RISING if after > before else Trend.FALLING


def _latency_counts(readings: Sequence[Reading]) -> Array:
    """Requests by interval and latency bucket, shape (K, buckets); buckets may be none."""
    width = len(readings[-1].latency.counts) if readings[-1].latency else 0
    cumulative = [reading.latency.counts if reading.latency else (0,) * width for reading in readings]
    return np.diff(np.array(cumulative, dtype=np.float64), axis=0)


def _latency_trend(counts: Array) -> Trend:
    """Args: counts: requests by interval and latency bucket, shape (K, buckets)."""
    requests = counts.sum(axis=1)
    total = requests.sum()
    if total == 0:
        return Trend.STEADY
    within = np.cumsum(counts.sum(axis=0)) / total
    for share in SPLITS:
        edge = int(np.abs(within - share).argmin())
        slow_share = 1.0 - within[edge]
        if not 0 < slow_share < 1:
            continue  # all in one bucket: nothing to compare
        slow = counts[:, edge + 1 :].sum(axis=1)
        split = _change(slow, requests, float(requests.mean() * slow_share * (1 - slow_share)))
        if split is None or requests[:split].sum() == 0 or requests[split:].sum() == 0:
            continue
        before = np.cumsum(counts[:split].sum(axis=0)) / requests[:split].sum()
        after = np.cumsum(counts[split:].sum(axis=0)) / requests[split:].sum()
        if np.abs(before - after).max() >= MIN_DISTANCE:
            return Trend.RISING if after[edge] < before[edge] else Trend.FALLING
    return Trend.STEADY


def _change(events: Array, exposure: Array, least_variance: float) -> int | None:
    """Where events per exposure most likely changed: intervals before it, 1 … K−1; None when chance explains all.

    Args:
        events: a, shape (K,).
        exposure: b, shape (K,).
        least_variance: Of y where events come one by one and independently.
    """
    excess = events - events.sum() / exposure.sum() * exposure
    intervals = len(excess)
    place = np.arange(1, intervals) / intervals
    deviation = math.sqrt(max(_long_run_variance(excess), least_variance) * intervals)
    bridge = np.abs(np.cumsum(excess)[:-1]) / (deviation * np.sqrt(place * (1 - place)))
    bridge[(place < MARGIN) | (place > 1 - MARGIN)] = 0.0
    split = int(bridge.argmax())
    critical = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * (intervals - 1)))
    return split + 1 if bridge[split] > critical else None


def _long_run_variance(series: Array) -> float:
    """Variance of the sum of many intervals, for each interval; from differences of neighbouring blocks."""
    largest = 0.0
    block = 1
    while (blocks := len(series) // block) >= MIN_BLOCKS:
        sums = series[: blocks * block].reshape(blocks, block).sum(axis=1)
        largest = max(largest, float(np.square(np.diff(sums)).mean()) / (2 * block))
        block *= 2
    return largest
