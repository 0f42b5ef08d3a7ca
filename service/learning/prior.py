"""Prior: what is expected of a configuration before the surrogate has seen any like it: the surrogate's prior mean.

Two implementations. :class:`RulePrior` knows rules of thumb about waiting and threads, and the least score measured.
:class:`ModelPrior` asks the performance model, which has learnt the physics of this server from every window so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.context import Context
from service.learning.features import PRESSURE, wait_seconds
from service.learning.objective import Objective
from service.learning.performance_model import PerformanceModel

Array = NDArray[np.float64]

#: Share of the longest wait for a batch that is expected to show in the tail: under load a request that does not wait
#: for company waits for a thread.
WAIT_SHARE = 0.5
#: Expected cost of each factor of two between busy threads and processors: too few leave processors idle, too many get
#: in each other's way (measured on two cores: intra-op 2 for 1 cost a factor of 1.3 to 1.7).
MISFIT = 0.4
#: Expected growth of a score with the logarithm of the rate of examples: what did well under a light load is not
#: therefore expected to do as well under a heavier one. (One queue at half its capacity: 1; near idle: 0.)
LOAD_SLOPE = 0.5
#: Loads are rounded to these steps of their logarithms before the model is asked: windows of one load differ by noise.
_GRAIN = np.array([0.04, 0.15, 0.04])


class Prior(Protocol):
    """Expected scores."""

    @property
    def sigma(self) -> float:
        """Standard deviation of scores round what is expected."""
        ...

    def scores(self, configs: Sequence[ServingConfig], knobs: Array, contexts: Array) -> Array:
        """What is expected.

        Args:
            configs: The configurations.
            knobs: What :func:`service.learning.features.knobs` says of them, shape (n, 8).
            contexts: :attr:`service.learning.context.Context.vector` of each, shape (n, 3), or of all, shape (3,).

        Returns:
            Scores, shape (n,).
        """
        ...


class RulePrior:
    """Rules of thumb, above a level.

        m(x, c) = level + ln(1 + ½ w / t) + 0.4 |p| + 0.5 ln(load / present load)

    w is how long a batch may wait to fill, p the pressure on the processors in factors of two, t the least tail known.

    Args:
        present: The load that is asked about.
        sigma: Standard deviation of scores a priori.
    """

    def __init__(self, present: Context, sigma: float) -> None:
        self.sigma = sigma
        self._present = present
        self._least_tail = 1.0
        self._level = 0.0

    def stand_on(self, scores: Array, contexts: Array, objective: Objective) -> None:
        """Set level and least tail: what is unknown is expected to be a σ worse than the least score known."""
        least = float((scores - self._load(contexts)).min())
        self._least_tail = max(objective.seconds(least), 1e-6)
        self._level = least + self.sigma

    def scores(self, configs: Sequence[ServingConfig], knobs: Array, contexts: Array) -> Array:
        """See :meth:`Prior.scores`."""
        waiting = np.log1p(WAIT_SHARE * wait_seconds(knobs, contexts) / self._least_tail)
        result: Array = self._level + waiting + MISFIT * np.abs(knobs[:, PRESSURE]) + self._load(contexts)
        return result

    def _load(self, contexts: Array) -> Array:
        difference = contexts - self._present.vector
        added: Array = LOAD_SLOPE * (difference[..., 0] + difference[..., 2])
        return added


class ModelPrior:
    """The performance model's predictions, each asked for once.

    Args:
        model: Must not learn while this is in use.
        objective: Turns tails into scores.
        sigma: Standard deviation of scores round them.
    """

    def __init__(self, model: PerformanceModel, objective: Objective, sigma: float) -> None:
        self.sigma = sigma
        self._model = model
        self._objective = objective
        self._known: dict[tuple[float, ...], dict[ServingConfig, float]] = {}

    def scores(self, configs: Sequence[ServingConfig], knobs: Array, contexts: Array) -> Array:
        """See :meth:`Prior.scores`."""
        loads = np.round(np.broadcast_to(contexts, (len(configs), 3)) / _GRAIN) * _GRAIN
        out = np.empty(len(configs))
        for load in {tuple(row) for row in loads.tolist()}:
            rows = np.flatnonzero((loads == load).all(axis=1)).tolist()
            out[rows] = self._under([configs[i] for i in rows], load)
        return out

    def _under(self, configs: Sequence[ServingConfig], context: tuple[float, ...]) -> Array:
        known = self._known.setdefault(context, {})
        if missing := [config for config in dict.fromkeys(configs) if config not in known]:
            workload = Workload(*(float(value) for value in np.exp(context)))
            predicted = self._model.predict(workload, missing, self._objective.slo.percentile)
            scores = self._objective.scores_of_tails(predicted.log_tail)
            known.update(zip(missing, scores.tolist(), strict=True))
        return np.array([known[config] for config in configs])
