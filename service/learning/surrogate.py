"""Surrogate: what is believed of every configuration under one load, from all that was measured.

A Gaussian process (scikit-optimize's) over (features of the configuration, features of the load):

    score(x, c) ~ GP(m(x, c), v · Matérn₅⸝₂ with a length scale for each feature)

m is what is expected beforehand (:mod:`service.learning.prior`): the performance model's prediction, or rules of thumb
where those explain what was measured better, for the model may be wrong about this server. The process holds what is
wrong with either, which neighbours share.

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
from service.learning.features import LENGTH_SCALES, features, knobs, wait_seconds
from service.learning.history import Cluster, History, Trial
from service.learning.objective import Objective
from service.learning.performance_model import PerformanceModel
from service.learning.prior import ModelPrior, Prior, RulePrior

Array = NDArray[np.float64]

#: Trials in one posterior at most; a suggestion's time grows with its square.
MAX_ROWS = 60
#: Trials of the present load among them that are kept for being good; the rest are the newest.
KEPT_BEST = 20
#: Windows under the same load after which a window weighs half.
HALF_LIFE = 24.0
#: A window never weighs less than this: its error counts five times at most. What was terrible stays known as such.
LEAST_WEIGHT = 0.04
#: Standard deviation of scores round rules of thumb, and round the performance model's predictions: the median of the
#: prior of √v.
PRIOR_SIGMA = 0.7
MODEL_SIGMA = 0.3
#: By how much the model is believed more than the rules before anything was measured: logarithm of the odds.
MODEL_CREDIT = 2.0
#: Standard deviation of the logarithm of each hyperparameter a priori.
PRIOR_SPREAD = 0.5
#: The same for the variance v. Narrow: a few alike neighbours of the best do not prove that all the rest is alike.
VARIANCE_SPREAD = 0.5
#: How restless a machine is expected to be, see :func:`_unrest`, and how many windows that is worth.
UNREST = 0.05
UNREST_WEIGHT = 4.0
#: A batch limit counts as reached from this share of it on.
REACHED = 0.7
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
    """How beliefs about differences may change, in the form that skopt's acquisition functions ask for."""

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
        window_sigma: Standard deviation of the error of one window's score.
    """

    def __init__(
        self,
        cpus: float,
        context: Context,
        objective: Objective,
        rows: Sequence[Row],
        prior: Prior,
        window_sigma: float,
    ) -> None:
        self.objective = objective
        self.window_sigma = window_sigma
        self.rows = tuple(rows)
        self._cpus = cpus
        self._context = context
        self._prior = prior
        best = min(rows, key=lambda row: row.score)
        self._least_tail = max(objective.seconds(best.score), 1e-6)
        self._reach = _reach(best)
        contexts = np.array([row.trial.context.vector for row in rows])
        configs = [row.trial.config for row in rows]
        own = knobs(configs, cpus)
        errors = np.array([row.score for row in rows]) - prior.scores(configs, own, contexts)
        alpha = np.array([row.sigma**2 for row in rows])
        self._gp = _fitted(self._inputs(own, contexts), errors, alpha, prior.sigma)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the density of what was measured, as this posterior's prior had it."""
        return float(self._gp.log_marginal_likelihood_value_)

    def belief(self, configs: Sequence[ServingConfig], their_knobs: Array | None = None) -> Belief:
        """What is believed of these configurations.

        Args:
            configs: The configurations.
            their_knobs: What :func:`service.learning.features.knobs` says of them, where the caller has it.
        """
        own = knobs(configs, self._cpus) if their_knobs is None else their_knobs
        inputs = self._inputs(own, self._context.vector)
        with warnings.catch_warnings():
            # Rounding may give a variance of −1e-16 at a measured point; scikit-optimize sets it to 0 and says so.
            warnings.filterwarnings("ignore", message="Predicted variances smaller than 0", category=UserWarning)
            mean, sigma = self._gp.predict(inputs, return_std=True)
        expected = self._prior.scores(configs, own, self._context.vector)
        return self._clipped(configs, mean + expected, np.maximum(sigma, 1e-3))

    def value_of_trying(self, belief: Belief, their_knobs: Array, best: ServingConfig) -> Array:
        """By how much one more window is expected to make the best belief better, for each configuration tried in it.

        The knowledge gradient of two (Frazier, Powell & Dayanik 2008): the expected improvement over ``best``, not of
        what a configuration is but of what will be believed of it after a window as noisy as windows here are. Both
        are uncertain together: of a configuration that must behave as the best one does, nothing is expected, however
        noisy the best one's windows were.

        Args:
            belief: What is believed of the configurations, shape (n,).
            their_knobs: What :func:`service.learning.features.knobs` says of them.
            best: The best configuration known.

        Returns:
            Scores, shape (n,).
        """
        inputs = self._inputs(their_knobs, self._context.vector)
        at_best = self._inputs(knobs([best], self._cpus), self._context.vector)
        kernel, trained = self._gp.kernel_, self._gp.X_train_
        shared = kernel(inputs, at_best) - kernel(inputs, trained) @ (self._gp.K_inv_ @ kernel(trained, at_best))
        variance = belief.sigma**2
        change = (variance - shared[:, 0]) / np.sqrt(variance + self.window_sigma**2)
        differences = _Differences(belief.mean - self.belief([best]).mean, np.maximum(np.abs(change), 1e-6))
        values: Array = gaussian_ei(np.arange(len(inputs))[:, None], differences, y_opt=0.0, xi=0.0)
        return values

    def _inputs(self, own: Array, contexts: Array) -> Array:
        """Inputs of the process, shape (n, 11)."""
        return features(own, contexts, self._least_tail, self._reach)

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


def posterior(history: History, context: Context, slo: Slo, cpus: float, model: PerformanceModel | None) -> Posterior:
    """Beliefs under the load ``context``; the history must not be empty.

    Args:
        history: What was measured.
        context: The load.
        slo: What scores are to mean.
        cpus: Processors of the node.
        model: What is expected beforehand; None for rules of thumb.
    """
    here = history.cluster(context)
    objective = Objective.over(slo, _least_tail(here, slo))
    unrest = _unrest(history, objective)
    rows = _rows(history, context, here, objective, unrest)
    newest = objective.score(max(rows, key=lambda row: (row.here, row.trial.last_tick)).trial.measurements[-1])
    window_sigma = math.hypot(newest.sigma, unrest)
    rules = RulePrior(context, PRIOR_SIGMA)
    contexts = np.array([row.trial.context.vector for row in rows])
    rules.stand_on(np.array([row.score for row in rows]), contexts, objective)
    by_rules = Posterior(cpus, context, objective, rows, rules, window_sigma)
    if model is None:
        return by_rules
    by_model = Posterior(cpus, context, objective, rows, ModelPrior(model, objective, MODEL_SIGMA), window_sigma)
    return by_model if by_model.log_evidence + MODEL_CREDIT >= by_rules.log_evidence else by_rules


def _least_tail(here: Cluster | None, slo: Slo) -> float | None:
    measured = [m.latency for trial in here.trials.values() for m in trial.measurements] if here else []
    return min((latency.quantile(slo.percentile) for latency in measured if latency.count), default=None)


def _rows(history: History, context: Context, here: Cluster | None, objective: Objective, unrest: float) -> list[Row]:
    """The trials of this load (the best and the newest of them), then those of the nearest other loads."""
    own = [_row(trial, here, objective, unrest, here=True) for trial in here.trials.values()] if here else []
    if len(own) > MAX_ROWS:
        good = sorted(range(len(own)), key=lambda i: own[i].score)[:KEPT_BEST]
        newest = [i for i in range(len(own))[::-1] if i not in good][: MAX_ROWS - KEPT_BEST]
        own = [own[i] for i in sorted(good + newest)]
    others = sorted((c for c in history.clusters if c is not here), key=lambda c: c.centre.distance(context))
    elsewhere = [(cluster, trial) for cluster in others for trial in reversed(cluster.trials.values())]
    rest = elsewhere[: MAX_ROWS - len(own)]
    return own + [_row(trial, cluster, objective, unrest, here=False) for cluster, trial in rest]


def _reach(best: Row) -> float:
    """How large batches grow under the best configuration known; infinite where its limit holds them back."""
    config, large = best.trial.config, best.trial.measurements[-1].large_batch
    if large is None or not config.enable_batching or large >= REACHED * config.max_batch_size:
        return math.inf
    return max(large, 1.0)


def _row(trial: Trial, cluster: Cluster, objective: Objective, unrest: float, *, here: bool) -> Row:
    weights, values = [], []
    for measurement in trial.measurements:
        score = objective.score(measurement)
        age = (cluster.ticks - 1 - measurement.tick) / HALF_LIFE
        weights.append(max(0.5**age, LEAST_WEIGHT) / (score.sigma**2 + unrest**2))
        values.append(score.value)
    total = sum(weights)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
    return Row(trial, mean, 1 / math.sqrt(total), here)


def _unrest(history: History, objective: Objective) -> float:
    """Standard deviation of a window's score beyond what its number of requests explains: how restless the machine is.

    From windows of the same configuration under the same load, which differ by nothing else.
    """
    surplus, weight = UNREST_WEIGHT * UNREST**2, UNREST_WEIGHT
    for trial in history.trials:
        if len(trial.measurements) < 2:
            continue
        scores = [objective.score(measurement) for measurement in trial.measurements]
        mean = sum(score.value for score in scores) / len(scores)
        explained = sum(score.sigma**2 for score in scores) / len(scores)
        spread = sum((score.value - mean) ** 2 for score in scores)
        surplus += max(spread - (len(scores) - 1) * explained, 0.0)
        weight += len(scores) - 1
    return math.sqrt(surplus / weight)


def _fitted(inputs: Array, targets: Array, alpha: Array, sigma: float) -> GaussianProcessRegressor:
    scales = np.array(list(LENGTH_SCALES.values()))
    kernel = ConstantKernel(sigma**2, (1e-2, 1e2)) * Matern(scales, (1e-2, 1e3), nu=2.5)
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
