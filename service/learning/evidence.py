"""Evidence: what a window shows, as numbers that a simulation can be held against, and how far each can be trusted.

The numbers are logarithms: of p50, p90, p99 and mean of the latency, of the mean batch and of the mean wait for it.
Lost requests count as slower than all others. A window in which the server drowned shows latencies that tell how long
it lasted rather than how bad the configuration is, so latencies t are bent towards a ceiling s, the same for what was
seen and for what is predicted,

    ln(t s / (t + s)),    s = CEILING · duration of the window,

and such a window says little more than that the load exceeds the capacity.

Errors are of two kinds: each number's own, and one that a whole window shares, because the machine is sometimes slower
or faster as a whole and a few bad moments move all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.histogram import Histogram
from service.domain.window import Window
from service.learning import queue_kernel as q

Array = NDArray[np.float64]

#: Quantiles that are compared.
QUANTILES = (0.5, 0.9, 0.99)
#: Share of a window's duration towards which latencies are bent.
CEILING = 0.15
#: Added to waits, whose logarithm says nothing when they are next to none.
_LEAST_WAIT = 2e-4
#: What the model cannot say right of each number however well it is known: p50, p90, p99, mean, batch, wait.
DISCREPANCIES = (0.12, 0.12, 0.2, 0.12, 0.12, 0.4)
#: How a whole window is off.
SHARED = (0.25, 0.25, 0.25, 0.25, 0.05, 0.25)
#: Neighbouring requests wait for each other, so a window holds fewer independent ones: this many times.
_CORRELATED = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One window's numbers.

    Attributes:
        observed: Shape (m,).
        covariance: Of their errors, sampling and discrepancy together, shape (m, m).
        kept: Which of the possible numbers the window showed, shape (6,).
        ceiling: The ``s`` of the module's docstring, seconds.
    """

    observed: Array
    covariance: Array
    kept: NDArray[np.bool_]
    ceiling: float

    @classmethod
    def of(cls, window: Window) -> Evidence:
        """What a window with at least one request shows."""
        ceiling = CEILING * max(window.duration_seconds, 1e-3)
        total = window.succeeded + window.rejected + window.failed
        served = window.latency.count / max(total, window.latency.count, 1)
        independent = max(window.latency.count / _CORRELATED, 1.0)
        values, errors = [], []
        for level in QUANTILES:
            value, error = _quantile(window.latency, level / served if served else 2.0, independent)
            values.append(_bent(value, ceiling))
            errors.append(error / (1 + value / ceiling) if math.isfinite(value) else 0.5)
        lost_seconds = max(window.duration_seconds, 1e-3)
        mean = served * window.latency.mean + (1 - served) * lost_seconds if served else lost_seconds
        values.append(_bent(mean, ceiling))
        errors.append(1 / math.sqrt(independent))
        for histogram, least in ((window.batch_size, 0.0), (window.queueing, _LEAST_WAIT)):
            told = histogram is not None and histogram.count > 0
            mean = histogram.mean + least if told and histogram is not None else math.nan
            values.append(math.log(mean) if mean > 0 else math.nan)
            errors.append(1 / math.sqrt(independent))
        observed = np.array(values)
        kept = np.isfinite(observed)
        own, shared = np.hypot(errors, DISCREPANCIES)[kept], np.array(SHARED)[kept]
        return cls(observed[kept], np.diag(own**2) + np.outer(shared, shared), kept, ceiling)

    def misfit(self, predicted: Array, scale: float = 1.0) -> Array:
        """Squared Mahalanobis distance of predictions, shape (k, m), from what was seen; shape (k,).

        Args:
            predicted: From :meth:`predicted`.
            scale: Of the errors' standard deviations.
        """
        apart = predicted - self.observed
        distance: Array = np.einsum("ki,ki->k", apart, np.linalg.solve(scale**2 * self.covariance, apart.T).T)
        return distance

    def surprise(self, predicted: Array) -> float:
        """Mean squared error of the ensemble's mean in units of what was to be expected; about 1 where all is well."""
        apart = predicted.mean(axis=0) - self.observed
        expected = np.cov(predicted.T) + self.covariance
        return float(apart @ np.linalg.solve(expected, apart)) / len(apart)

    def predicted(self, results: Array, excess_seconds: Array) -> Array:
        """The same numbers of simulated windows, shape (k, m).

        Args:
            results: From :func:`service.learning.queueing.simulate_many` with :data:`QUANTILES`, shape (k, …).
            excess_seconds: By how much a longer run would be slower, shape (k,).
        """
        latencies = results[:, [q.RESULT_COUNT, q.RESULT_COUNT + 1, q.RESULT_COUNT + 2, q.MEAN]]
        # Backlog grows evenly, so half the requests have waited half of what the last ones wait.
        grown = latencies + excess_seconds[:, None] * np.array([0.5, 0.9, 0.99, 0.5])
        bent = np.log(grown) - np.log1p(grown / self.ceiling)
        batch = np.log(np.maximum(results[:, [q.MEAN_BATCH]], 1e-3))
        wait = np.log(results[:, [q.MEAN_WAIT]] + 0.5 * excess_seconds[:, None] + _LEAST_WAIT)
        every: Array = np.hstack([bent, batch, wait])[:, self.kept]
        return every


def _quantile(latency: Histogram, level: float, independent: float) -> tuple[float, float]:
    """A quantile, infinite where the level is beyond what was served, and the standard deviation of its logarithm."""
    if level >= 1 or not latency.count:
        return math.inf, 0.5
    spread = math.sqrt(level * (1 - level) / independent)
    low, value, high = (latency.quantile(min(max(p, 1e-6), 1 - 1e-6)) for p in (level - spread, level, level + spread))
    if value <= 0:
        return 1e-9, 1.0
    return value, max((math.log(high) - math.log(max(low, 0.1 * value))) / 2, 0.02)


def _bent(seconds: float, ceiling: float) -> float:
    if math.isinf(seconds):
        return math.log(ceiling)
    return math.log(max(seconds, 1e-9)) - math.log1p(seconds / ceiling)
