"""Counters, gauges and distributions: what TensorFlow's monitoring library keeps, cheap enough for the hot path.

Not thread-safe; :class:`~service.modelserver.metrics.ServerMetrics` holds the one lock. A family keeps at most
:data:`MAX_SERIES` label sets and folds further ones into a single one, because some labels (a model's name) come from
clients, and the page must stay bounded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

#: Label sets a family keeps before it folds further ones into ``(OTHER, …)``.
MAX_SERIES = 256
OTHER = "(other)"

Labels = tuple[str, ...]


class Scalars:
    """Numbers, one a label set.

    Args:
        name: As TensorFlow registers it, such as ``/tensorflow/serving/request_count``.
        labels: Names of the labels, in the order of the label sets.
        kind: ``counter`` or ``gauge``.
    """

    __slots__ = ("kind", "labels", "name", "values")

    def __init__(self, name: str, labels: Sequence[str] = (), kind: str = "counter") -> None:
        self.name = name
        self.labels = tuple(labels)
        self.kind = kind
        self.values: dict[Labels, float] = {}

    def add(self, key: Labels, amount: float = 1) -> None:
        """Add to the number of that label set."""
        values = self.values
        if key not in values:
            if len(values) >= MAX_SERIES:
                key = (OTHER,) * len(self.labels)
            values.setdefault(key, 0)
        values[key] += amount

    def set(self, key: Labels, value: float) -> None:
        """Replace the number of that label set."""
        self.values[key] = value


class Distribution:
    """Counts of values in buckets, for one label set.

    Attributes:
        counts: Values in each bucket, not cumulated; the last bucket is unbounded.
        total: Sum of all values.
    """

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Distributions:
    """Distributions over the same buckets, one a label set.

    Args:
        name: As TensorFlow registers it.
        bounds: Finite upper edges, ascending.
        labels: Names of the labels, in the order of the label sets.
        inclusive: Whether a value equal to an edge belongs below it, as Prometheus has it. TensorFlow's histograms put
            it above (``tsl/lib/histogram``), although their page prints the edges as ``le``; so do ours of its names.
    """

    __slots__ = ("_bucket_of", "bounds", "cells", "labels", "name")

    def __init__(
        self, name: str, bounds: Sequence[float], labels: Sequence[str] = (), *, inclusive: bool = False
    ) -> None:
        self.name = name
        self.bounds = tuple(bounds)
        self.labels = tuple(labels)
        self.cells: dict[Labels, Distribution] = {}
        self._bucket_of: Callable[[Sequence[float], float], int] = bisect_left if inclusive else bisect_right

    def add(self, key: Labels, value: float) -> None:
        """Count one value."""
        cell = self.cells.get(key)
        if cell is None:
            if len(self.cells) >= MAX_SERIES:
                key = (OTHER,) * len(self.labels)
            cell = self.cells.setdefault(key, Distribution(len(self.bounds) + 1))
        cell.counts[self._bucket_of(self.bounds, value)] += 1
        cell.total += value


Family = Scalars | Distributions
