"""Random search: measures configurations in a random order, each once, and keeps the best of them."""

from __future__ import annotations

import numpy as np

from service.learning.search import TRIALS, Problem, Search
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point


class Shuffled(Search):
    """All points in an order drawn at the start.

    Args:
        problem: What it works on.
        trials: Configurations to measure.
    """

    def __init__(self, problem: Problem, trials: int = TRIALS) -> None:
        super().__init__(problem)
        self._trials = trials
        self._order = np.random.default_rng(problem.seed).permutation(len(problem.space))

    def ask(self) -> Point | None:
        """The first point of the order that was not measured."""
        if len(self.problem.known) >= self._trials:
            return None
        return self.draw()

    def draw(self) -> Point | None:
        """The same without a limit; None when all were measured."""
        points = (self.problem.space.points[i] for i in self._order)
        return next((point for point in points if point not in self.problem.known), None)


def random_search(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """Random search as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the order.
        trials: Configurations to measure before the best is kept.
    """
    return Searcher("random", space, lambda problem: Shuffled(problem, trials), seed=seed)
