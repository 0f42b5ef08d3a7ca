"""Histogram: counts in buckets, and what can honestly be said of a quantile read from them.

Notation: ``bounds[i]`` is the inclusive upper edge of bucket i (ascending); ``counts`` has one entry more than
``bounds``, the last for everything above. ``n`` is the number of values, ``q`` a quantile in (0, 1).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from service.domain.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its lower and upper bound, all in the unit of the thing measured."""

    low: float
    value: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise InvalidValueError("interval", f"needs low ≤ value ≤ high, not {self.low}, {self.value}, {self.high}")

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready; an unbounded end becomes null."""
        return {
            "low": _finite(self.low),
            "value": _finite(self.value),
            "high": _finite(self.high),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, float | None]) -> Interval:
        """Read what :meth:`to_dict` wrote."""
        low, value, high = raw["low"], raw["value"], raw["high"]
        return cls(
            -math.inf if low is None else low,
            math.inf if value is None else value,
            math.inf if high is None else high,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in buckets. Immutable.

    Attributes:
        bounds: Ascending, finite upper edges, shape (b,).
        counts: Values in each bucket, not cumulated, shape (b + 1,); the last holds what exceeds every edge.
        total: Sum of all values, in the unit of ``bounds``.

    Raises:
        InvalidValueError: Shapes, order or signs are wrong.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1:
            raise InvalidValueError("counts", f"needs {len(self.bounds) + 1} entries, not {len(self.counts)}")
        if any(b <= a for a, b in zip(self.bounds, self.bounds[1:], strict=False)):
            raise InvalidValueError("bounds", "must ascend")
        if not all(math.isfinite(b) for b in self.bounds):
            raise InvalidValueError("bounds", "must be finite; the bucket above the last is implied")
        if any(c < 0 for c in self.counts):
            raise InvalidValueError("counts", "must not be negative")

    @classmethod
    def empty(cls, bounds: Sequence[float]) -> Histogram:
        """No values yet."""
        return cls(tuple(bounds), (0,) * (len(bounds) + 1))

    @classmethod
    def of(cls, values: Iterable[float], bounds: Sequence[float]) -> Histogram:
        """Sort values into buckets."""
        counts = [0] * (len(bounds) + 1)
        total = 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        return cls(tuple(bounds), tuple(counts), total)

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Arithmetic mean; NaN when empty."""
        n = self.count
        return self.total / n if n else math.nan

    def minus(self, earlier: Histogram) -> Histogram:
        """What was added since ``earlier``, an older reading of the same ever-growing histogram.

        Raises:
            InvalidValueError: Buckets differ, or a count went down (the server restarted).
        """
        self._same_buckets(earlier)
        return Histogram(
            self.bounds,
            tuple(a - b for a, b in zip(self.counts, earlier.counts, strict=True)),
            self.total - earlier.total,
        )

    def plus(self, other: Histogram) -> Histogram:
        """Both together.

        Raises:
            InvalidValueError: Buckets differ.
        """
        self._same_buckets(other)
        return Histogram(
            self.bounds,
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            self.total + other.total,
        )

    def _same_buckets(self, other: Histogram) -> None:
        if self.bounds != other.bounds:
            raise InvalidValueError("bounds", "two histograms with different buckets cannot be combined")

    def _edges(self, index: int) -> tuple[float, float]:
        low = self.bounds[index - 1] if index > 0 else min(0.0, self.bounds[0] if self.bounds else 0.0)
        high = self.bounds[index] if index < len(self.bounds) else math.inf
        return low, high

    def _bucket_of_rank(self, rank: float) -> tuple[int, int]:
        """Index of the bucket that holds the value of that rank (0 < rank ≤ n), and the count below it."""
        below = 0
        for index, count in enumerate(self.counts):
            if count and below + count >= rank:
                return index, below
            below += count
        last = max(i for i, c in enumerate(self.counts) if c)
        return last, below - self.counts[last]

    def quantile(self, q: float) -> float:
        """Linear interpolation inside the bucket, as PromQL's histogram_quantile does; NaN when empty.

        A value above the last edge gives that edge, the most that is known to be exceeded.
        """
        _check_q(q)
        n = self.count
        if n == 0:
            return math.nan
        rank = max(q * n, 1e-9)
        index, below = self._bucket_of_rank(rank)
        low, high = self._edges(index)
        if math.isinf(high):
            return low
        return low + (high - low) * (rank - below) / self.counts[index]

    def quantile_interval(self, q: float, confidence: float = 0.9) -> Interval:
        """Quantile with an interval that holds both bucket width and sample size.

        The ranks between which the true quantile lies with the given confidence come from the normal approximation
        of the binomial (distribution-free order statistics); each is then widened to the edge of its bucket. The
        upper end is infinite when it falls above the last edge, or when the sample is too small to bound the quantile
        from above: a p99 takes 230 values at confidence 0.9, a p99.9 ten times as many.

        Raises:
            InvalidValueError: The histogram is empty or ``q`` is outside (0, 1).
        """
        _check_q(q)
        n = self.count
        if n == 0:
            raise InvalidValueError("histogram", "is empty; it has no quantiles")
        spread = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(n * q * (1 - q))
        low_rank = max(q * n - spread, 1e-9)
        high_rank = q * n + spread
        low = self._edges(self._bucket_of_rank(low_rank)[0])[0]
        if high_rank <= n:
            high = self._edges(self._bucket_of_rank(high_rank)[0])[1]
        elif 1 - q**n >= confidence:
            # The largest value exceeds the quantile with probability 1 − q^n: often enough to bound it.
            high = self._edges(self._bucket_of_rank(n)[0])[1]
        else:
            high = math.inf
        value = min(max(self.quantile(q), low), high)
        return Interval(low, value, high)

    def fraction_within(self, bound: float) -> float:
        """Share of values ≤ ``bound``, interpolated inside its bucket; NaN when empty."""
        n = self.count
        if n == 0:
            return math.nan
        index = bisect_left(self.bounds, bound)
        below = sum(self.counts[:index])
        low, high = self._edges(index)
        if math.isinf(high):
            return below / n
        inside = self.counts[index] * (bound - low) / (high - low)
        return (below + max(inside, 0.0)) / n

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "total": self.total}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Histogram:
        """Read what :meth:`to_dict` wrote."""
        return cls(tuple(raw["bounds"]), tuple(raw["counts"]), float(raw["total"]))


def _check_q(q: float) -> None:
    if not 0 < q < 1:
        raise InvalidValueError("q", f"must lie strictly between 0 and 1, not {q}")


def exponential_bounds(start: float, factor: float, count: int) -> tuple[float, ...]:
    """``start · factor^i`` for i in 0 … count-1: how TensorFlow Serving lays out its buckets."""
    return tuple(start * factor**i for i in range(count))
