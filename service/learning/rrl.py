"""RRL: region-based reinforcement learning as its authors published it, for an honest comparison.

From the artefact of "Swift ML model serving scheduling" (SC'19; GitHub SC-RRL/RRL), and kept as it is there:

- a table Q of one latency for each cell of the grid, filled with the first latency measured, that of the middle cell;
- choice: softmax over all cells, P(c) ∝ exp(z_c), z_c = 2e7 / Q_c with Q in µs, all z halved until the largest ≤ 500;
- estimator f: a perceptron [mean inter-arrival time, grid indices] → 256 ReLU → 64 ReLU → 1, Huber loss, trained from
  scratch on all history at each step;
- region: the Euclidean ball of radius 3 on grid indices round the chosen cell;
- update: Q(c') ← 0.7 Q(c') + 0.3 f(context, c') for every cell c' of the ball;
- no stopping: it goes on drawing from the softmax; no discount, no next state; the table is shared by all loads.

What had to be adapted, and what the artefact does not tell us:

- The grid is our :class:`service.learning.space.ConfigSpace` with its six knobs in place of three of eleven values
  each; the middle cell is the feasible point nearest to the middle of all axes.
- A step is a window in place of an episode of 100 requests. Its cost is the window's mean latency, as published;
  ``cost="tail"`` gives RRL what all others minimise: the latency that stands for the objective's score, in which lost
  requests count. A window without a single answered request has no mean; it is given that latency in any case.
- Scaling of the network's inputs and outputs, optimiser and number of epochs are not known to us. Here: inputs and
  targets are standardised over the history, Adam, :data:`EPOCHS` passes in mini-batches of :data:`BATCH`.
- Nothing in the artefact keeps a prediction positive. Here f never falls below half the least cost measured: where Q
  would go through zero, 2e7/Q has no meaning.
- Without trials (``explore=False``) it names the measured configuration of least Q.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.learning.moves import nearest_point
from service.learning.network import Network, fit
from service.learning.objective import Objective
from service.learning.search import Problem, Search, Visit
from service.learning.searcher import MAX_WINDOWS, Searcher
from service.learning.space import ConfigSpace, Point

Array = NDArray[np.float64]
Cost = Literal["mean", "tail"]

#: Radius of the region, in grid steps.
RADIUS = 3.0
#: Share of the estimate in an update.
SHARE = 0.3
#: Numerator of the softmax's exponents, µs.
SCALE = 2e7
#: The exponents are halved until none is larger.
LARGEST_EXPONENT = 500.0
#: Widths of the estimator's hidden layers.
HIDDEN = (256, 64)
#: Passes over the history at each training. The artefact's number is not known to us.
EPOCHS = 20
#: Rows in one step of the training. The artefact's number is not known to us.
BATCH = 32


def probabilities(table: Array) -> Array:
    """The softmax over all cells, shape (n_points,), for latencies in µs."""
    exponents = SCALE / table
    while exponents.max() > LARGEST_EXPONENT:
        exponents /= 2
    weights = np.exp(exponents - exponents.max())
    chances: Array = weights / weights.sum()
    return chances


def ball(space: ConfigSpace, centre: Point) -> NDArray[np.intp]:
    """Indices, in the space, of the points within :data:`RADIUS` of a point."""
    squared = np.square(space.coordinates - np.asarray(centre)).sum(axis=1)
    return np.flatnonzero(squared <= RADIUS**2)


def updated(table: Array, cells: NDArray[np.intp], estimates: Array) -> Array:
    """The table after the estimates of these cells were blended in."""
    after = table.copy()
    after[cells] = (1 - SHARE) * table[cells] + SHARE * estimates
    return after


class Estimator:
    """The perceptron f(inter-arrival time, grid indices) → cost, trained from scratch.

    Args:
        inputs: Shape (n, 1 + n_knobs).
        costs: Shape (n,).
        epochs: Passes over the rows.
        rng: Draws weights and orders.
    """

    def __init__(self, inputs: Array, costs: Array, *, epochs: int, rng: np.random.Generator) -> None:
        self._centre, self._width = inputs.mean(axis=0), _spread(inputs)
        self._level, self._scale = float(costs.mean()), float(_spread(costs[:, None])[0])
        self._network = Network((inputs.shape[1], *HIDDEN, 1), rng)
        targets = (costs[:, None] - self._level) / self._scale
        fit(self._network, self._standardised(inputs), targets, epochs=epochs, batch=BATCH, rng=rng)

    def costs(self, inputs: Array) -> Array:
        """Estimates, shape (n,), for inputs of shape (n, 1 + n_knobs)."""
        estimates: Array = self._network.predict(self._standardised(inputs))[:, 0] * self._scale + self._level
        return estimates

    def _standardised(self, inputs: Array) -> Array:
        standardised: Array = (inputs - self._centre) / self._width
        return standardised


def _spread(columns: Array) -> Array:
    """Standard deviation of each column, 1 where a column does not vary."""
    deviation: Array = columns.std(axis=0)
    spread: Array = np.where(deviation > 1e-9 * np.abs(columns).max(axis=0), deviation, 1.0)
    return spread


class _Table(Search):
    """The table and what it learns from."""

    def __init__(self, problem: Problem, cost: Cost, epochs: int) -> None:
        super().__init__(problem)
        space = problem.space
        self._cost = cost
        self._epochs = epochs
        self._objective = Objective(problem.slo)
        self._middle = nearest_point(space, (np.array([len(knob.values) for knob in space.knobs]) - 1) / 2)
        self._table: Array | None = None
        self._inputs: list[Array] = []
        self._costs: list[float] = []

    def tell(self, visit: Visit, score: float) -> None:
        """One step: retrain the estimator, update the region round the configuration that ran."""
        if self._table is None and visit.point != self._middle:
            return
        arrival = math.exp(-visit.context.log_rate)
        cost = self._micros(visit, score)
        self._inputs.append(np.array([arrival, *visit.point]))
        self._costs.append(cost)
        if self._table is None:
            self._table = np.full(len(self.problem.space), cost)
            return
        rng = np.random.default_rng([self.problem.seed, len(self._costs), 0])
        estimator = Estimator(np.array(self._inputs), np.array(self._costs), epochs=self._epochs, rng=rng)
        cells = ball(self.problem.space, visit.point)
        points = self.problem.space.coordinates[cells]
        estimates = estimator.costs(np.column_stack([np.full(len(points), arrival), points]))
        self._table = updated(self._table, cells, np.maximum(estimates, min(self._costs) / 2))

    def ask(self) -> Point | None:
        """The middle cell until it was measured, then a draw from the softmax."""
        if self._table is None:
            return self._middle
        rng = np.random.default_rng([self.problem.seed, len(self._costs), 1])
        return self.problem.space.points[int(rng.choice(len(self._table), p=probabilities(self._table)))]

    def best(self) -> Point | None:
        """The measured point of least Q."""
        table = self._table
        if table is None:
            return super().best()
        return min(self.problem.known, key=lambda point: float(table[self.problem.space.index(point)]), default=None)

    def _micros(self, visit: Visit, score: float) -> float:
        latency = visit.measurement.latency
        mean = self._cost == "mean" and latency.count > 0
        return max(1e6 * (latency.mean if mean else self._objective.seconds(score)), 1.0)


class RRL(Searcher):
    """The published algorithm; see the module's docstring.

    Args:
        space: Where configurations come from.
        seed: Seeds the network's weights and the draws.
        cost: What is minimised: ``mean`` latency as published, or the ``tail`` of the objective as everybody else.
        epochs: Passes over the history at each training.
        max_windows: Windows after which table and history start over.
    """

    def __init__(
        self,
        space: ConfigSpace,
        *,
        seed: int = 0,
        cost: Cost = "mean",
        epochs: int = EPOCHS,
        max_windows: int = MAX_WINDOWS,
    ) -> None:
        super().__init__(
            "rrl",
            space,
            lambda problem: _Table(problem, cost, epochs),
            seed=seed,
            restarts=False,
            max_windows=max_windows,
        )
