"""Surrogate: what is believed of every configuration under one load, from all that was measured.

A Gaussian process (scikit-optimize's) over (features of the configuration, features of the load):

    score(x, c) ~ GP(m(x, c), v · Matérn₅⸝₂ with a length scale for each feature)
    m(x, c)     = s + √v₀ + ln(1 + ½ w / t) + 0.4 |p| + 0.5 ln(load / present load)

s is the least score known, t its tail, v₀ the median of v's prior, w how long a batch may wait to fill, p the pressure
on the processors in factors of two. In words: what is unknown is expected to be worse than the best known by as much as
configurations usually differ, and worse still where requests wait for company, where threads do not match processors,
and where the load is heavier. The mean is a nudge for the first trials; a few windows overrule it.

Each trial is one row: the mean of its windows, newer ones weighing more, with a variance from their intervals, their
number and their age. Length scales and v are those of highest posterior density under log-normal priors, which keeps
them sane when there are five rows; they are found anew, from the same start, for each posterior, so that a posterior
depends on the history alone and not on what was asked before.

Loads are ordered, and capacity with them: what broke the objective under an easier load will break it under a harder
one, and what met it under a harder load will meet it under an easier one, but for the time batches wait to fill.
The posterior is clipped to that where the configuration was not measured under the present load itself.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from skopt.acquisition import gaussian_ei
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.learning.context import Context
from service.learning.features import LENGTH_SCALES, PRESSURE, features, knobs, wait_seconds
from service.learning.history import Cluster, History, Trial
from service.learning.objective import Objective

Array = NDArray[np.float64]

#: Trials in one posterior at most; a suggestion's time grows with its square.
MAX_ROWS = 80
#: Trials of the present load among them that are kept for being good; the rest are the newest.
KEPT_BEST = 24
#: Windows under the same load after which a window weighs half.
HALF_LIFE = 24.0
#: A window never weighs less than this: its error counts five times at most. What was terrible stays known as such.
LEAST_WEIGHT = 0.04
#: Standard deviation of scores a priori, the median of its prior.
PRIOR_SIGMA = 0.7
#: Standard deviation of the logarithm of each hyperparameter a priori.
PRIOR_SPREAD = 0.5
#: Share of the longest wait for a batch that is expected to show in the tail: under load a request that does not wait
#: for company waits for a thread.
WAIT_SHARE = 0.5
#: A batch limit counts as reached from this share of it on.
REACHED = 0.7
#: Expected cost of each factor of two between busy threads and processors: too few leave processors idle, too many get
#: in each other's way (measured on two cores: intra-op 2 for 1 cost a factor of 1.3 to 1.7).
MISFIT = 0.4
#: Expected growth of a score with the logarithm of the rate of examples: what did well under a light load is not
#: therefore expected to do as well under a heavier one. (One queue at half its capacity: 1; near idle: 0.)
LOAD_SLOPE = 0.5
#: The same for the variance v. Narrow: a few alike neighbours of the best do not prove that all the rest is alike.
VARIANCE_SPREAD = 0.5
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
    """Scores believed of several configurations, each array of shape (n,).

    Attributes:
        mean: Expected scores.
        sigma: Their standard deviations.
    """

    mean: Array
    sigma: Array


@dataclass(frozen=True, slots=True)
class _Differences:
    """How scores are believed to differ from one configuration's, in the form skopt's acquisition functions ask for."""

    mean: Array
    sigma: Array

    def predict(self, positions: Array, return_std: bool = True) -> tuple[Array, Array]:
        """Mean and standard deviation at these positions, shape (k, 1)."""
        index = positions[:, 0].astype(int)
        return self.mean[index], self.sigma[index]


class Posterior:
    """Beliefs under one load and one objective.

    Attributes:
        objective: What scores mean.
        rows: The trials they rest on, at least one.
    """

    def __init__(self, cpus: float, context: Context, objective: Objective, rows: Sequence[Row]) -> None:
        self.objective = objective
        self.rows = tuple(rows)
        self._cpus = cpus
        self._context = context
        contexts = np.array([row.trial.context.vector for row in rows])
        scores = np.array([row.score for row in rows])
        least = float((scores - self._load(contexts)).min())
        self._least_tail = max(objective.seconds(least), 1e-6)
        self._level = least + PRIOR_SIGMA
        self._reach = _reach(min(rows, key=lambda row: row.score))
        inputs, offsets = self._inputs(knobs((row.trial.config for row in rows), cpus), contexts)
        alpha = np.array([row.sigma**2 for row in rows])
        self._gp = _fitted(inputs, scores - offsets - self._level, alpha)

    def belief(self, configs: Sequence[ServingConfig], their_knobs: Array | None = None) -> Belief:
        """What is believed of these configurations.

        Args:
            configs: The configurations.
            their_knobs: What :func:`service.learning.features.knobs` says of them, where the caller has it.
        """
        own = knobs(configs, self._cpus) if their_knobs is None else their_knobs
        inputs, offsets = self._inputs(own, self._context.vector)
        with warnings.catch_warnings():
            # Rounding may give a variance of −1e-16 at a measured point; scikit-optimize sets it to 0 and says so.
            warnings.filterwarnings("ignore", message="Predicted variances smaller than 0", category=UserWarning)
            mean, sigma = self._gp.predict(inputs, return_std=True)
        return self._clipped(configs, mean + offsets + self._level, np.maximum(sigma, 1e-3))

    def expected_improvement(self, belief: Belief, their_knobs: Array, best: ServingConfig) -> Array:
        """By how much each configuration is expected to beat ``best``, where it does; shape (n,).

        The expectation is over both being uncertain together: of a configuration that must behave as the best one does,
        nothing is expected, however noisy the best one's windows were.

        Args:
            belief: What is believed of the configurations.
            their_knobs: What :func:`service.learning.features.knobs` says of them.
            best: The best configuration known.
        """
        inputs, _ = self._inputs(their_knobs, self._context.vector)
        at_best, _ = self._inputs(knobs([best], self._cpus), self._context.vector)
        reference = self.belief([best])
        kernel, trained = self._gp.kernel_, self._gp.X_train_
        shared = kernel(inputs, at_best) - kernel(inputs, trained) @ (self._gp.K_inv_ @ kernel(trained, at_best))
        variance = belief.sigma**2 + reference.sigma**2 - 2 * shared[:, 0]
        differences = _Differences(belief.mean - reference.mean, np.sqrt(np.maximum(variance, 1e-8)))
        gains: Array = gaussian_ei(np.arange(len(inputs))[:, None], differences, y_opt=0.0, xi=0.0)
        return gains

    def _inputs(self, own: Array, contexts: Array) -> tuple[Array, Array]:
        """Inputs of the process, shape (n, 11), and its prior mean above the level, shape (n,)."""
        waiting = np.log1p(WAIT_SHARE * wait_seconds(own, contexts) / self._least_tail)
        misfit = MISFIT * np.abs(own[:, PRESSURE])
        return features(own, contexts, self._least_tail, self._reach), waiting + misfit + self._load(contexts)

    def _load(self, contexts: Array) -> Array:
        """What the difference of these loads from the present one is expected to add to scores, shape (n,) or ()."""
        difference = contexts - self._context.vector
        added: Array = LOAD_SLOPE * (difference[..., 0] + difference[..., 2])
        return added

    def _clipped(self, configs: Sequence[ServingConfig], mean: Array, sigma: Array) -> Belief:
        measured_here = {row.trial.config for row in self.rows if row.here}
        position = {config: i for i, config in enumerate(configs) if config not in measured_here}
        for row in self.rows:
            i = position.get(row.trial.config)
            if i is None:
                continue
            if row.score - row.sigma > 0 and self._context.harder_than(row.trial.context):
                mean[i] = max(mean[i], row.score)
            elif row.score + row.sigma < 0 and row.trial.context.harder_than(self._context):
                waiting = wait_seconds(knobs([row.trial.config], self._cpus), self._context.vector)[0]
                mean[i] = min(mean[i], row.score + math.log1p(waiting / self.objective.seconds(row.score)))
        return Belief(mean, sigma)


def posterior(history: History, context: Context, slo: Slo, cpus: float) -> Posterior:
    """Beliefs under the load ``context``; the history must not be empty."""
    here = history.cluster(context)
    objective = Objective.over(slo, _least_tail(here, slo))
    return Posterior(cpus, context, objective, _rows(history, context, here, objective))


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


def _reach(best: Row) -> float:
    """How large batches grow under the best configuration known; infinite where its limit holds them back."""
    config, large = best.trial.config, best.trial.measurements[-1].large_batch
    if large is None or not config.enable_batching or large >= REACHED * config.max_batch_size:
        return math.inf
    return max(large, 1.0)


def _row(trial: Trial, cluster: Cluster, objective: Objective, *, here: bool) -> Row:
    weights, values = [], []
    for measurement in trial.measurements:
        score = objective.score(measurement)
        age = (cluster.ticks - 1 - measurement.tick) / HALF_LIFE
        weights.append(max(0.5**age, LEAST_WEIGHT) / score.sigma**2)
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

    The prior is normal round ``start``.
    """
    spread = np.full(len(start), PRIOR_SPREAD)
    spread[0] = VARIANCE_SPREAD

    def cost(theta: Array) -> tuple[float, Array]:
        value, gradient = negative_log_likelihood(theta)
        z = (theta - start) / spread
        return value + 0.5 * float(z @ z), gradient + z / spread

    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _FIT_ITERATIONS})
    return found.x, float(found.fun)
