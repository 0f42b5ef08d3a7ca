"""Surrogate: what is believed of every configuration under one load, from all that was measured.

A Gaussian process (scikit-optimize's) over (features of the configuration, features of the load):

    score(x, c) ~ GP(m(x, c), v · Matérn₅⸝₂ with a length scale for each feature)
    m(x, c)     = level + ln(1 + wait(x, c) / t)      t: the least tail known; wait: what the batch timeout may add

Each trial is one row: the mean of its windows, newer ones weighing more, with a variance from their intervals, their
number and their age. Length scales and v are those of highest posterior density under log-normal priors, which keeps
them sane when there are five rows; they are found anew, from the same start, for each posterior, so that a posterior
depends on the history alone and not on what was asked before.

Loads are ordered, and capacity with them: what broke the objective under an easier load will break it under a harder
one, and what met it under a harder load will meet it under an easier one, but for the time batches wait to fill.
The posterior is clipped to that.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.learning.context import Context
from service.learning.features import LENGTH_SCALES, Embedding, wait_seconds
from service.learning.history import Cluster, History, Trial
from service.learning.objective import Objective

Array = NDArray[np.float64]

#: Trials in one posterior at most; a suggestion's time grows with its square.
MAX_ROWS = 96
#: Trials of the present load among them that are kept for being good; the rest are the newest.
KEPT_BEST = 32
#: Windows under the same load after which a window weighs half.
HALF_LIFE = 24.0
#: Standard deviation of scores a priori, the median of its prior.
PRIOR_SIGMA = 0.7
#: Standard deviation of the logarithm of each hyperparameter a priori.
PRIOR_SPREAD = 0.7
#: Rows below which the priors' medians are used as they are.
MIN_ROWS_TO_FIT = 5
_FIT_ITERATIONS = 15


@dataclass(frozen=True, slots=True)
class Row:
    """One trial as the surrogate sees it: score, its standard deviation, and whether its load is the present one."""

    trial: Trial
    score: float
    sigma: float
    here: bool

    @property
    def windows(self) -> int:
        """How many windows it rests on."""
        return len(self.trial.measurements)


@dataclass(frozen=True, slots=True)
class Belief:
    """Scores believed of several configurations: means and standard deviations, each of shape (n,)."""

    mean: Array
    sigma: Array

    def predict(self, positions: Array, return_std: bool = True) -> tuple[Array, Array]:
        """The beliefs at these positions, shape (k, 1), as scikit-optimize's acquisition functions ask for them."""
        index = positions[:, 0].astype(int)
        return self.mean[index], self.sigma[index]


class Posterior:
    """Beliefs under one load and one objective.

    Attributes:
        rows: The trials they rest on.
        prior_sigma: Standard deviation where nothing is known.
    """

    def __init__(self, embedding: Embedding, context: Context, objective: Objective, rows: Sequence[Row]) -> None:
        self.objective = objective
        self.rows = tuple(rows)
        self._embedding = embedding
        self._context = context
        self._wait_scale = max(min(objective.seconds(row.score) for row in rows), 1e-6)
        inputs = self._inputs([r.trial.config for r in rows], [r.trial.context for r in rows])
        offsets = np.array([self._offset(r.trial.config, r.trial.context) for r in rows])
        scores = np.array([r.score for r in rows])
        alpha = np.array([r.sigma**2 for r in rows])
        weights = 1 / (alpha + PRIOR_SIGMA**2)
        self._level = float(weights @ (scores - offsets) / weights.sum())
        self._gp = _fitted(inputs, scores - offsets - self._level, alpha)
        self.prior_sigma = float(np.sqrt(self._gp.kernel_.k1.constant_value))

    def belief(self, configs: Sequence[ServingConfig], features: Array | None = None) -> Belief:
        """What is believed of these configurations.

        Args:
            configs: The configurations.
            features: Their features where the caller has them, shape (n, 8).
        """
        inputs = self._inputs(configs, [self._context] * len(configs), features)
        with warnings.catch_warnings():
            # Rounding may give a variance of −1e-16 at a measured point; scikit-optimize sets it to 0 and says so.
            warnings.filterwarnings("ignore", message="Predicted variances smaller than 0", category=UserWarning)
            mean, sigma = self._gp.predict(inputs, return_std=True)
        offsets = np.array([self._offset(config, self._context) for config in configs])
        return self._clipped(configs, mean + offsets + self._level, np.maximum(sigma, 1e-3))

    def _inputs(
        self, configs: Sequence[ServingConfig], contexts: Sequence[Context], features: Array | None = None
    ) -> Array:
        own = self._embedding.rows(configs) if features is None else features
        return np.hstack([own, np.array([context.vector for context in contexts]).reshape(len(configs), 3)])

    def _offset(self, config: ServingConfig, context: Context) -> float:
        return math.log1p(wait_seconds(config, context) / self._wait_scale)

    def _clipped(self, configs: Sequence[ServingConfig], mean: Array, sigma: Array) -> Belief:
        position = {config: i for i, config in enumerate(configs)}
        for row in self.rows:
            i = position.get(row.trial.config)
            if i is None or row.here:
                continue
            if row.score - row.sigma > 0 and self._context.harder_than(row.trial.context):
                mean[i] = max(mean[i], row.score)
            elif row.score + row.sigma < 0 and row.trial.context.harder_than(self._context):
                waiting = math.log1p(wait_seconds(row.trial.config, self._context) / self.objective.seconds(row.score))
                mean[i] = min(mean[i], row.score + waiting)
        return Belief(mean, sigma)


def posterior(history: History, context: Context, slo: Slo, embedding: Embedding) -> Posterior:
    """Beliefs under the load ``context``; the history must not be empty."""
    here = history.cluster(context)
    objective = Objective.over(slo, _least_tail(here, slo))
    return Posterior(embedding, context, objective, _rows(history, context, here, objective))


def _least_tail(here: Cluster | None, slo: Slo) -> float | None:
    measured = [m.latency for trial in here.trials.values() for m in trial.measurements] if here else []
    return min((latency.quantile(slo.percentile) for latency in measured if latency.count), default=None)


def _rows(history: History, context: Context, here: Cluster | None, objective: Objective) -> list[Row]:
    """The trials of this load (the best and the newest of them), then those of the nearest other loads."""
    own = [_row(trial, here, objective, here=True) for trial in here.trials.values()] if here else []
    if len(own) > MAX_ROWS:
        good = sorted(range(len(own)), key=lambda i: own[i].score)[:KEPT_BEST]
        newest = [i for i in range(len(own))[::-1] if i not in good][: MAX_ROWS - KEPT_BEST]
        own = [own[i] for i in sorted(good + newest)]
    others = sorted((c for c in history.clusters if c is not here), key=lambda c: c.centre.distance(context))
    elsewhere = [(cluster, trial) for cluster in others for trial in reversed(cluster.trials.values())]
    return own + [_row(trial, cluster, objective, here=False) for cluster, trial in elsewhere[: MAX_ROWS - len(own)]]


def _row(trial: Trial, cluster: Cluster, objective: Objective, *, here: bool) -> Row:
    weights, values = [], []
    for measurement in trial.measurements:
        score = objective.score(measurement)
        weights.append(0.5 ** ((cluster.ticks - 1 - measurement.tick) / HALF_LIFE) / score.sigma**2)
        values.append(score.value)
    total = sum(weights)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
    return Row(trial, mean, 1 / math.sqrt(total), here)


def _fitted(inputs: Array, targets: Array, alpha: Array) -> GaussianProcessRegressor:
    scales = np.array(list(LENGTH_SCALES.values()))
    kernel = ConstantKernel(PRIOR_SIGMA**2, (1e-2, 1e2)) * Matern(scales, (1e-2, 1e3), nu=2.5)
    enough = len(targets) >= MIN_ROWS_TO_FIT
    gp = GaussianProcessRegressor(kernel=kernel, alpha=alpha, optimizer=_most_probable if enough else None)
    gp.fit(inputs, targets)
    return gp


def _most_probable(
    negative_log_likelihood: Callable[[Array], tuple[float, Array]], start: Array, bounds: Array
) -> tuple[Array, float]:
    """Hyperparameters (logarithms) of highest posterior density, in the form scikit-learn asks for.

    The prior is normal round ``start``; the variance's logarithm spreads twice as far as its square root's.
    """
    spread = np.full(len(start), PRIOR_SPREAD)
    spread[0] *= 2

    def cost(theta: Array) -> tuple[float, Array]:
        value, gradient = negative_log_likelihood(theta)
        z = (theta - start) / spread
        return value + 0.5 * float(z @ z), gradient + z / spread

    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _FIT_ITERATIONS})
    return found.x, float(found.fun)
