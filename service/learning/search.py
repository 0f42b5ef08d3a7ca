"""Search: what an algorithm is that looks for the best grid point under one load, one window after another.

:mod:`service.learning.searcher` runs one as a policy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.learning.context import Context
from service.learning.history import Measurement
from service.learning.objective import Score
from service.learning.space import ConfigSpace, Point

#: Configurations that an algorithm without a stopping rule of its own measures before the best of them is kept.
TRIALS = 60


@dataclass(frozen=True, slots=True)
class Visit:
    """One usable window of a configuration of the lattice.

    Attributes:
        point: The configuration's grid point.
        context: The load.
        measurement: What the window showed.
        queueing: Seconds that requests waited for their batch; None where the server does not tell.
    """

    point: Point
    context: Context
    measurement: Measurement
    queueing: Histogram | None = None


class Known:
    """The scores of the points measured so far, averaged over their windows."""

    def __init__(self) -> None:
        self._sums: dict[Point, tuple[float, float, int]] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def __contains__(self, point: object) -> bool:
        return point in self._sums

    def __iter__(self) -> Iterator[Point]:
        return iter(self._sums)

    def add(self, point: Point, score: Score) -> None:
        """Count one more window of a point."""
        total, variance, windows = self._sums.get(point, (0.0, 0.0, 0))
        self._sums[point] = total + score.value, variance + score.sigma**2, windows + 1

    def mean(self, point: Point) -> float:
        """Mean score of a measured point."""
        total, _, windows = self._sums[point]
        return total / windows

    def sigma(self, point: Point) -> float:
        """Standard deviation of that mean's error."""
        _, variance, windows = self._sums[point]
        return math.sqrt(variance) / windows

    def windows(self, point: Point) -> int:
        """How many windows of a point were counted."""
        return self._sums[point][2]

    def best(self) -> Point | None:
        """The point of least mean score; the one measured first on a tie, None before the first."""
        return min(self._sums, key=self.mean, default=None)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a search works on.

    Attributes:
        space: The lattice.
        seed: Seeds the search.
        slo: What is to be met first.
        start: The point in force when the search began; with nothing configured yet, the server's default.
        known: What was measured; grows by itself before each :meth:`Search.tell`.
    """

    space: ConfigSpace
    seed: int
    slo: Slo
    start: Point
    known: Known


class Search(ABC):
    """One run of an algorithm on one load."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def tell(self, visit: Visit, score: float) -> None:  # noqa: B027 — many searches learn from `known` alone
        """Learn from a window; also from one that was not asked for."""

    @abstractmethod
    def ask(self) -> Point | None:
        """The point to measure next; None when the search is over. Changes nothing."""

    def best(self) -> Point | None:
        """The point to run when nothing is to be tried."""
        return self.problem.known.best()


Steps = Generator[Point, float, None]
"""An algorithm written as a generator: it yields the point to measure and receives its score."""


class Stepwise(Search):
    """A search that measures one point after another, each step resting on the score of the last.

    Args:
        problem: What it works on.
        steps: The algorithm.
        remembers: Whether a point measured earlier is answered with its mean score instead of being measured again.
            Not for algorithms that run for ever.
    """

    def __init__(self, problem: Problem, steps: Steps, *, remembers: bool = True) -> None:
        super().__init__(problem)
        self._steps = steps
        self._remembers = remembers
        self._pending: Point | None = next(steps, None)

    def tell(self, visit: Visit, score: float) -> None:
        """Go on as far as what is known allows."""
        known = self.problem.known
        if not self._remembers:
            if visit.point == self._pending:
                self._advance(score)
            return
        while self._pending is not None and self._pending in known:
            self._advance(known.mean(self._pending))

    def ask(self) -> Point | None:
        """The point whose score the algorithm waits for."""
        return self._pending

    def _advance(self, score: float) -> None:
        try:
            self._pending = self._steps.send(score)
        except StopIteration:
            self._pending = None
