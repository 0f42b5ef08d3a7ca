"""PerformanceModel: an inductive bias. A batch's service time and a simulation of the queue, fitted to windows.

After Symphony (Banerjee et al., ICML 2020): domain knowledge enters as a small physical model with priors, and its
posterior is followed by sampled gradients in place of full inference. Here the physical model is
:mod:`service.learning.service_time`, what it predicts for a load comes from :mod:`service.learning.queueing`, what a
window shows of it is :mod:`service.learning.evidence`, and the sampled gradients are those of an
:mod:`service.learning.ensemble`. One window under one configuration says something of every other one, because all of
them share the same physics.

A tail is predicted for a run of :data:`HORIZON` seconds: a server that cannot keep up falls behind by
(1 − 1/utilisation) of the time, so the more it is overloaded the worse it is, without bound on one side or infinity on
the other. The posterior is rebuilt by replaying windows in their order; the same windows and seed give the same
posterior. An update takes the time of 160 short simulations, whatever was seen before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.serving_config import ServingConfig
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning import queue_kernel as q
from service.learning.ensemble import Ensemble, Predict
from service.learning.evidence import QUANTILES, Evidence
from service.learning.queueing import simulate, simulate_many
from service.learning.sample_load import SampleLoad
from service.learning.service_time import PARAMETERS, Plan, physical

Array = NDArray[np.float64]

PARTICLES = 40
#: Draws from the prior that the first window is held against.
CANDIDATES = 500
#: Requests in one simulation: to learn from a window, and to predict.
LEARNING_REQUESTS = 600
PREDICTION_REQUESTS = 800
#: Seconds for which a tail is predicted before any window has shown how long windows are.
HORIZON = 10.0
#: Standard deviation of the logarithm of a predicted tail that is not the ensemble's: assumed at first, and worth so
#: many windows when the model's own errors are averaged.
_DISCREPANCY, _DISCREPANCY_WEIGHT = 0.25, 6.0
#: The errors of a window that surprises are taken for so many times larger at most (their variance).
_MOST_DOUBT = 4.0
#: Errors fade by this factor with each window.
_MEMORY = 0.97


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What is expected of configurations, each of shape (n,).

    Attributes:
        log_tail: Logarithm of the tail latency in seconds.
        sigma: Standard deviation of its error.
        utilisation: Offered load over capacity; above 1 the server drowns.
    """

    log_tail: Array
    sigma: Array
    utilisation: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where the time of a slow request goes. Seconds, means over the requests at and beyond the percentile.

    Attributes:
        tail: Latency at the percentile.
        filling: Waiting for company while a batch thread was free.
        queueing: Waiting for a batch thread.
        execution: With the batch in a session, waiting for an inter-op thread included.
        outside: In the event loop and on the way.
        utilisation: Offered load over capacity; above 1 the server drowns.
        busy: Share of the processors in use.
        batch: Mean executed batch, examples.
    """

    tail: float
    filling: float
    queueing: float
    execution: float
    outside: float
    utilisation: float
    busy: float
    batch: float


class PerformanceModel:
    """See the module's docstring. Not safe for use from several threads at once.

    Args:
        cpus: Processors of the node.
        seed: Seeds the particles.
    """

    def __init__(self, cpus: float, *, seed: int = 0) -> None:
        self._cpus = cpus
        self._rng = np.random.default_rng(seed)
        self._ensemble = Ensemble(len(PARAMETERS), PARTICLES, self._rng)
        self._windows = 0
        self._horizon = HORIZON
        self._error_sum = _DISCREPANCY_WEIGHT * _DISCREPANCY**2
        self._error_weight = _DISCREPANCY_WEIGHT

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        """Learn from a window; one that may not be judged, or that holds no request, teaches nothing."""
        if not window.usable or not window.latency.count + window.rejected + window.failed:
            return
        requests = int(min(max(window.succeeded + window.rejected + window.failed, 200), LEARNING_REQUESTS))
        load = SampleLoad.of(workload, requests)
        plan = Plan.of([config], self._cpus, requests)
        evidence = Evidence.of(window)

        def predict(standard: Array) -> Array:
            results, utilisation = _simulated(plan, physical(standard), workload, load, QUANTILES)
            excess = _excess(utilisation, window.duration_seconds - load.seconds)
            return evidence.predicted(results[0], excess[0])

        if self._windows == 0:
            self._start(predict, evidence)
        foreseen = predict(self._ensemble.particles)
        if self._windows > 0:
            self._learn_error(foreseen, evidence)
        # A window that surprises is as likely an accident as news: it is believed less, repeated it is believed.
        doubt = min(max(1.0, evidence.surprise(foreseen)), _MOST_DOUBT)
        self._ensemble.update(predict, evidence.observed, doubt * evidence.covariance)
        self._windows += 1
        self._horizon = window.duration_seconds

    def predict(
        self,
        workload: Workload,
        configs: Sequence[ServingConfig],
        percentile: float = 0.99,
        *,
        particles: int = 1,
    ) -> Prediction:
        """The tail of each configuration under a load.

        Args:
            workload: The load.
            configs: Any number of them.
            percentile: Which tail, as a fraction.
            particles: 1 asks the mean of the ensemble alone and takes 0.1 ms a configuration; more ask so many of its
                members, and ``sigma`` then holds their spread.
        """
        standard = self._ensemble.mean
        if particles > 1:
            chosen = np.linspace(0, PARTICLES - 1, min(particles, PARTICLES)).round().astype(int)
            standard = self._ensemble.particles[chosen]
        load = SampleLoad.of(workload, PREDICTION_REQUESTS)
        plan = Plan.of(configs, self._cpus, PREDICTION_REQUESTS)
        results, utilisation = _simulated(plan, physical(standard), workload, load, (percentile,))
        log_tail = np.log(results[..., q.RESULT_COUNT] + _excess(utilisation, self._horizon - load.seconds))
        return Prediction(
            log_tail=log_tail.mean(axis=1),
            sigma=np.hypot(log_tail.std(axis=1), self.discrepancy),
            utilisation=np.exp(np.log(utilisation).mean(axis=1)),
        )

    def explain(self, workload: Workload, config: ServingConfig, percentile: float = 0.99) -> Explanation:
        """Where the time of the slowest requests goes, as the mean of the ensemble has it."""
        load = SampleLoad.of(workload, PREDICTION_REQUESTS)
        plan = Plan.of([config], self._cpus, PREDICTION_REQUESTS)
        services = plan.services(physical(self._ensemble.mean), workload)
        utilisation = float(plan.utilisation(services, workload)[0, 0])
        run = simulate(load.arrivals, load.sizes, load.noise, plan.settings[0], services[0, 0], plan.pads[0])
        excess = float(_excess(np.array(utilisation), self._horizon - load.seconds))
        answered = ~np.isnan(run.latency)
        if not answered.any():
            return Explanation(
                tail=load.seconds + excess,
                filling=0.0,
                queueing=load.seconds + excess,
                execution=0.0,
                outside=0.0,
                utilisation=utilisation,
                busy=run.busy,
                batch=0.0,
            )
        tail = float(np.quantile(np.where(answered, run.latency, load.seconds), percentile))
        slow = answered & (run.latency >= min(tail, float(np.nanmax(run.latency))))
        filling = float(run.filling[slow].mean())
        execution = float(run.execution[slow].mean())
        waiting = float(run.wait[slow].mean())
        return Explanation(
            tail=tail + excess,
            filling=filling,
            queueing=waiting - filling + excess,
            execution=execution,
            outside=float(run.latency[slow].mean()) - waiting - execution,
            utilisation=utilisation,
            busy=run.busy,
            batch=float(run.batch_sizes.mean()),
        )

    @property
    def discrepancy(self) -> float:
        """Standard deviation of the logarithm of a tail beyond the ensemble's spread, learnt from its own errors."""
        return math.sqrt(self._error_sum / self._error_weight)

    @property
    def parameters(self) -> dict[str, tuple[float, float, float]]:
        """Physical parameters by symbol: the value at the ensemble's mean, its 5th and 95th percentile."""
        centre = physical(self._ensemble.mean)[0]
        low, high = np.quantile(physical(self._ensemble.particles), (0.05, 0.95), axis=0)
        return {p.symbol: (float(centre[i]), float(low[i]), float(high[i])) for i, p in enumerate(PARAMETERS)}

    def _start(self, predict: Predict, evidence: Evidence) -> None:
        """The prior is too wide for a linear step: first keep those of its draws that come near what was seen."""
        candidates = self._rng.standard_normal((CANDIDATES, len(PARAMETERS)))
        self._ensemble.start_from(candidates, -0.5 * evidence.misfit(predict(candidates), scale=2.0))

    def _learn_error(self, foreseen: Array, evidence: Evidence) -> None:
        """How wrong the tail of this window was foreseen, beyond what the particles disagree on."""
        if not evidence.kept[_TAIL]:
            return
        tail = foreseen[:, _TAIL]
        error = float(tail.mean() - evidence.observed[_TAIL])
        self._error_sum = _MEMORY * self._error_sum + max(error**2 - float(tail.var()), 0.0)
        self._error_weight = _MEMORY * self._error_weight + 1.0


#: Column of the evidence that holds the tail.
_TAIL = 2


def _simulated(
    plan: Plan, parameters: Array, workload: Workload, load: SampleLoad, quantiles: Sequence[float]
) -> tuple[Array, Array]:
    """Results, shape (n, k, …), and utilisations, shape (n, k), of n configurations under k parameter sets."""
    # Configurations that come to the same numbers behave alike: one run for all of them.
    key = np.column_stack([plan.settings, plan.pads, plan.intra, plan.inter > 1])
    _, first, back = np.unique(key, axis=0, return_index=True, return_inverse=True)
    plan = plan.take(first)
    services = plan.services(parameters, workload)
    count, sets = services.shape[:2]
    results = simulate_many(
        load.arrivals,
        load.sizes,
        load.noise,
        np.repeat(plan.settings, sets, axis=0),
        np.repeat(plan.pads, sets, axis=0),
        services.reshape(-1, q.SERVICE_COUNT),
        np.array(quantiles),
    ).reshape(count, sets, q.RESULT_COUNT + len(quantiles))
    back = back.reshape(-1)
    return results[back], plan.utilisation(services, workload)[back]


def _excess(utilisation: Array, seconds: float) -> Array:
    """How far a server that is overloaded falls behind in so many more seconds."""
    return np.maximum(1 - 1 / np.maximum(utilisation, 1e-9), 0.0) * max(seconds, 0.0)
