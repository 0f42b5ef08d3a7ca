"""Model-based search: scikit-optimize's estimators and expected improvement over the points of the lattice.

A regressor is fitted to the mean scores of the measured points (coordinates normalised to 0 … 1); the point of highest
expected improvement that was not measured yet comes next. The acquisition is computed for every point of the lattice:
nothing is lost to sampling, and no suggestion is infeasible.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from skopt.acquisition import gaussian_ei
from skopt.utils import cook_estimator

from service.learning.baselines.random_search import Shuffled
from service.learning.search import TRIALS, Problem, Search, Visit
from service.learning.space import Point

Model = Literal["GP", "ET", "RF"]
"""scikit-optimize's Gaussian process, extremely randomised trees, random forest."""


class ModelBased(Search):
    """The search.

    Args:
        problem: What it works on.
        model: What is fitted.
        initial: Points measured before the first fit, at random but for the one in force.
        trials: Points measured at most.
        margin: How much a point must be expected to improve on the best to count (scikit-optimize's ``xi``).
        random_share: Share of random points among the later ones.
        enough: Given the number of measured points and the highest expected improvement (relative, as scores are
            logarithms): whether to stop. None never stops before ``trials``.
        settings: Parameters of the estimator other than its defaults.
    """

    def __init__(
        self,
        problem: Problem,
        model: Model,
        *,
        initial: int,
        trials: int = TRIALS,
        margin: float = 0.01,
        random_share: float = 0.0,
        enough: Callable[[int, float], bool] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(problem)
        self._model = model
        self._initial = initial
        self._trials = trials
        self._margin = margin
        self._random_share = random_share
        self._enough = enough
        self._settings = settings
        self._random = Shuffled(problem, len(problem.space))
        self._told = 0
        lengths = [max(len(knob.values) - 1, 1) for knob in problem.space.knobs]
        self._inputs = problem.space.coordinates / np.array(lengths)

    def tell(self, visit: Visit, score: float) -> None:
        """Count windows; all else is read from what is known."""
        self._told += 1

    def ask(self) -> Point | None:
        """The most promising point."""
        known, space = self.problem.known, self.problem.space
        if len(known) >= min(self._trials, len(space)):
            return None
        rng = np.random.default_rng([self.problem.seed, self._told])
        if len(known) < self._initial or rng.random() < self._random_share:
            return self._random.ask()
        measured = [space.index(point) for point in known]
        scores = np.array([known.mean(point) for point in known])
        rest = np.setdiff1d(np.arange(len(space)), measured)
        regressor = self._regressor(int(rng.integers(2**31)))
        with warnings.catch_warnings():
            # Length scales at their bounds and variances rounded to 0 are no news at these numbers of rows.
            warnings.simplefilter("ignore")
            regressor.fit(self._inputs[measured], scores)
            gains = gaussian_ei(self._inputs[rest], regressor, y_opt=scores.min(), xi=self._margin)
        top = int(np.argmax(gains))
        if self._enough is not None and self._enough(len(known), float(gains[top])):
            return None
        return space.points[int(rest[top])]

    def _regressor(self, seed: int) -> Any:
        unit = [(0.0, 1.0)] * self._inputs.shape[1]
        return cook_estimator(self._model, space=unit, random_state=seed, **self._settings)
