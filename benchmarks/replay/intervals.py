"""Intervals: medians and means over seeds with a 95 % bootstrap interval.

Infinite values are runs that never got there. The same seeds meet the same noise under every policy, so two policies
are compared seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.statistics import Estimate

CONFIDENCE = 0.95
RESAMPLES = 2000
#: Fewer seeds give no interval.
FEWEST_SEEDS = 5

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def median(values: ArrayLike) -> Estimate:
    """Of the values of all seeds; infinite where half of them are."""
    return _estimate(np.asarray(values, dtype=np.float64), _medians)


def mean(values: ArrayLike) -> Estimate:
    """Of the values of all seeds."""
    return _estimate(np.asarray(values, dtype=np.float64), _means)


def ratio_of_means(theirs: ArrayLike, ours: ArrayLike) -> Estimate:
    """Mean of theirs over mean of ours, seeds drawn together."""
    pairs = np.stack([np.asarray(theirs, dtype=np.float64), np.asarray(ours, dtype=np.float64)], axis=-1)
    return _estimate(pairs, lambda drawn: _quotient(_means(drawn[..., 0]), _means(drawn[..., 1])))


def ratio_of_medians(theirs: ArrayLike, ours: ArrayLike) -> Estimate:
    """Median of theirs over median of ours, seeds drawn together; a median below one window counts as one."""
    pairs = np.stack([np.asarray(theirs, dtype=np.float64), np.asarray(ours, dtype=np.float64)], axis=-1)

    def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        return _quotient(np.maximum(_medians(drawn[..., 0]), 1), np.maximum(_medians(drawn[..., 1]), 1))

    return _estimate(pairs, statistic)


def mean_ratio(theirs: ArrayLike, ours: ArrayLike) -> Estimate:
    """Geometric mean over scenarios of (mean of theirs over mean of ours); both of shape (scenarios, seeds)."""
    pairs = np.stack([np.asarray(theirs, dtype=np.float64), np.asarray(ours, dtype=np.float64)])
    by_seed = np.moveaxis(pairs, -1, 0)  # (seeds, 2, scenarios)

    def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        means = drawn.mean(axis=-3)  # (…, 2, scenarios)
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(np.log(_quotient(means[..., 0, :], means[..., 1, :])).mean(axis=-1)))

    return _estimate(by_seed, statistic)


def _quotient(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.where(above > 0, np.inf, 1.0))


def _medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.quantile(values, 0.5, axis=-1, method="inverted_cdf"))


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=-1))


def _estimate(values: NDArray[np.float64], statistic: Statistic) -> Estimate:
    """Over the first axis of ``values``: the seeds."""
    whole = float(statistic(values))
    seeds = len(values)
    if seeds < FEWEST_SEEDS:
        return Estimate(whole, math.nan, math.nan)
    index = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))
    draws = np.sort(statistic(values[index]))
    tail = (1 - CONFIDENCE) / 2
    # Order statistics rather than interpolation: between a number and infinity there is nothing.
    low, high = draws[math.floor(tail * RESAMPLES)], draws[math.ceil((1 - tail) * RESAMPLES) - 1]
    return Estimate(whole, float(low), float(high))
