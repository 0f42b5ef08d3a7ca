"""Recorder: latencies counted as they come, in buckets 1 % apart; what is read from them is a domain ``Histogram``.

As HdrHistogram does, the relative error is bounded (≤ 1 %) over the whole range at a fixed size. Quantiles, sums and
JSON are the domain's own; only the counting, which must be cheap and in place, is here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from service.domain.histogram import Histogram, exponential_bounds

#: Range and resolution: 1 µs … 1 h in steps of 1 %.
LOWEST_SECONDS = 1e-6
HIGHEST_SECONDS = 3600.0
GROWTH = 1.01
BOUNDS = exponential_bounds(
    LOWEST_SECONDS, GROWTH, math.ceil(math.log(HIGHEST_SECONDS / LOWEST_SECONDS) / math.log(GROWTH)) + 1
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What people ask of a distribution of times. All but ``count`` in seconds; NaN when nothing was recorded."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready; NaN becomes null."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: None if math.isnan(value) else value for name, value in raw.items()}


class Recorder:
    """Counts times in seconds. Not thread-safe."""

    __slots__ = ("_counts", "_total", "highest")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self.highest = math.nan
        """The longest time recorded, exactly; NaN before the first."""

    @classmethod
    def merged(cls, recorders: Iterable[Recorder]) -> Recorder:
        """A new recorder that holds what all of them hold."""
        result = cls()
        for other in recorders:
            result._counts = [a + b for a, b in zip(result._counts, other._counts, strict=True)]
            result._total += other._total
            if not result.highest >= other.highest:
                result.highest = other.highest if not math.isnan(other.highest) else result.highest
        return result

    def record(self, seconds: float) -> None:
        """Count one value; a negative one counts as 0."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._total += seconds
        if not seconds <= self.highest:
            self.highest = seconds

    def histogram(self) -> Histogram:
        """A snapshot."""
        return Histogram(BOUNDS, tuple(self._counts), self._total)

    def summary(self) -> Summary:
        """Percentiles, each at most 1 % off and never above the longest time."""
        histogram = self.histogram()
        p50, p90, p95, p99, p999 = (
            min(histogram.quantile(q), self.highest) if histogram.count else math.nan
            for q in (0.5, 0.9, 0.95, 0.99, 0.999)
        )
        return Summary(histogram.count, histogram.mean, p50, p90, p95, p99, p999, self.highest)

    def buckets(self) -> list[list[float]]:
        """Non-empty buckets as [upper edge in seconds, count], for files; the last edge is 0 … :data:`BOUNDS`'s last.

        Values above the last edge are counted under it.
        """
        merged: dict[float, int] = {}
        for index, count in enumerate(self._counts):
            if count:
                edge = BOUNDS[min(index, len(BOUNDS) - 1)]
                merged[edge] = merged.get(edge, 0) + count
        return [[edge, count] for edge, count in merged.items()]

    def to_dict(self) -> dict[str, Any]:
        """Summary and non-empty buckets, JSON-ready."""
        return {**self.summary().to_dict(), "buckets": self.buckets()}
