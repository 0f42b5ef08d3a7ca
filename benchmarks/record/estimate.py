"""Estimate: the tail of every configuration, from all its windows, freed from the machine's drift and from luck.

A window's tail is noisy, the least of hundreds is the luckiest, and the machine is faster in one minute than in the
next. So the logarithm y of each window's tail is taken apart,

    y = a(configuration) + d(half minute) + ε,      a ~ GP(mean, v · Matérn₃⸝₂ on the grid + τ² of its own)

a is what a landscape is for. Its prior lets neighbours inform each other while τ leaves each configuration what is its
own; how much, the data tell: the hyperparameters are those of highest likelihood. a and d are found in turn. The result
is the posterior mean of a. Learners meet these tails as the truth.

Tails beyond :data:`CEILING` times the least are queues that grow; they are all equally bad and are left as measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks.landscape import Measurement, merged_tails
from service.learning.space import ConfigSpace

CEILING = 20.0
#: Seconds over which the machine's speed is taken as constant, and the standard deviation of its logarithm.
BLOCK_SECONDS = 30.0
_DRIFT = 0.2
_ROUNDS = 6

Array = NDArray[np.float64]


def estimate(space: ConfigSpace, measurements: Sequence[Measurement], percentile: float) -> dict[str, Any]:
    """Estimated tails.

    Args:
        space: The lattice.
        measurements: At least one window of every configuration that counts.
        percentile: Of the tail.

    Returns:
        ``log_tails``: for each configuration of the space the logarithm of its tail in seconds, or None where it was
        not measured; ``error_sigma``: the posterior's mean standard deviation; ``own_sigma`` τ, ``window_sigma``
        the standard deviation of ε in a window of ``window_seconds``, ``drift_sigma`` that of d over the recording.
    """
    position = {config: i for i, config in enumerate(space)}
    pooled = merged_tails(measurements, percentile=percentile)
    ceiling = CEILING * min(pooled.values())
    counted = [m for m in measurements if m.latency.count and pooled[m.config] < ceiling]
    configs = sorted({position[m.config] for m in counted})
    row_of = {index: row for row, index in enumerate(configs)}
    rows = np.array([row_of[position[m.config]] for m in counted])
    y = np.log([m.latency.quantile(percentile) for m in counted])
    blocks = _blocks(counted)
    # A longer window is worth more, in proportion.
    weights = np.array([m.duration_seconds for m in counted])
    weights = weights / np.median(weights)
    where = space.coordinates[configs]
    drift = np.zeros(blocks.max() + 1)
    noise2 = _window_variance(rows, y, weights)
    regressor: GaussianProcessRegressor | None = None
    for _ in range(_ROUNDS):
        mass = np.bincount(rows, weights)
        means = np.bincount(rows, weights * (y - drift[blocks])) / mass
        centre = float(np.average(means, weights=mass))
        regressor = regressor or _fitted(where, means - centre, noise2 / mass)
        smooth = regressor.kernel_(where)
        gain = smooth @ np.linalg.inv(smooth + np.diag(noise2 / mass))
        a = centre + gain @ (means - centre)
        left = y - a[rows]
        precision = np.bincount(blocks, weights) / noise2
        drift = np.bincount(blocks, weights * left) / noise2 / (precision + 1 / _DRIFT**2)
        drift -= np.average(drift, weights=precision)
        noise2 = float(np.average((y - a[rows] - drift[blocks]) ** 2, weights=weights))
    errors = np.sqrt(np.maximum(np.diag(smooth - gain @ smooth), 0.0))
    log_tails: list[float | None] = [None] * len(space)
    for config, tail in pooled.items():
        log_tails[position[config]] = float(np.log(tail))
    for row, index in enumerate(configs):
        log_tails[index] = round(float(a[row]), 5)
    return {
        "percentile": percentile,
        "log_tails": log_tails,
        "error_sigma": round(float(errors.mean()), 4),
        "own_sigma": round(float(np.sqrt(regressor.kernel_.k2.noise_level)) if regressor else 0.0, 4),
        "window_sigma": round(noise2**0.5, 4),
        "window_seconds": round(float(np.median([m.duration_seconds for m in counted])), 3),
        "drift_sigma": round(float(drift.std()), 4),
    }


def _blocks(measurements: Sequence[Measurement]) -> NDArray[np.intp]:
    started = np.array([m.started_at for m in measurements])
    blocks: NDArray[np.intp] = np.unique(((started - started.min()) // BLOCK_SECONDS).astype(int), return_inverse=True)[
        1
    ]
    return blocks


def _window_variance(rows: NDArray[np.intp], y: Array, weights: Array) -> float:
    """Of windows of one configuration round their mean; a first guess."""
    mass = np.bincount(rows, weights)
    means = np.bincount(rows, weights * y) / mass
    freedom = max(len(y) - len(mass), 1)
    return max(float((weights * (y - means[rows]) ** 2).sum()) / freedom, 1e-4)


def _fitted(where: Array, targets: Array, alpha: Array) -> GaussianProcessRegressor:
    axes = where.shape[1]
    kernel = ConstantKernel(0.25, (1e-3, 10.0)) * Matern(np.full(axes, 2.0), (0.3, 30.0), nu=1.5)
    kernel += WhiteKernel(0.01, (1e-4, 1.0))
    with warnings.catch_warnings():
        # A length scale at its upper bound says that the axis makes no difference, which is an answer.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, alpha=alpha).fit(where, targets)
