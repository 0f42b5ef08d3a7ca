"""AIMD: additive increase, multiplicative decrease of the batch size against the SLO (as Clipper batches).

While batches are served within the objective's bound the batch size grows by :data:`INCREASE` examples; a window that
shows them slower takes 10 % off. The lattice's sizes are few, so the new size is rounded onward to the lattice: up to
the next size that is at least as large, down to the next that is at most as large. All other knobs stay as TensorFlow
Serving's guide has them.

Clipper holds a batch's own time against the bound, not the time that requests wait for it: an overloaded server needs
larger batches, not smaller ones. So the percentile of queueing is taken off that of latency where the server tells it.
Where the smallest size breaks the objective there is nothing to take off, and it grows.

It tracks the load by itself and never ends; the size in force is read from the newest window, so a new load goes on
from there.
"""

from __future__ import annotations

from service.learning.baselines.guide import guide_point
from service.learning.moves import moved
from service.learning.search import Problem, Search, Visit
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

#: Examples by which the batch size grows. Clipper fixes an amount but publishes no number that would fit all models.
INCREASE = 4
#: What remains of the batch size after a violation: Clipper's "small multiplicative back-off" of 10 %.
BACK_OFF = 0.9


class Aimd(Search):
    """The controller; its smallest size is batching off, where the space has it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        space, guide = problem.space, guide_point(problem.space)
        others = (moved(space, guide, 0, i - guide[0]) for i in range(len(space.knobs[0].values)))
        self._line: list[Point] = sorted({guide, *(point for point in others if point is not None)})
        self._next = self._line[0]

    def tell(self, visit: Visit, score: float) -> None:
        """Move by what the newest window showed; to the smallest size where another configuration was in force."""
        slo, latency = self.problem.slo, visit.measurement.latency
        if visit.point not in self._line:
            self._next = self._line[0]
        elif visit.queueing is None or not visit.queueing.count or not latency.count:
            self._next = self._after(visit.point, met=score <= 0)
        else:
            served = latency.quantile(slo.percentile) - visit.queueing.quantile(slo.percentile)
            self._next = self._after(visit.point, met=served <= slo.bound_seconds)

    def ask(self) -> Point | None:
        """The size for the next window."""
        return self._next

    def _after(self, point: Point, *, met: bool) -> Point:
        size = self._examples(point)
        if met or point == self._line[0]:
            return next((p for p in self._line if self._examples(p) >= size + INCREASE), self._line[-1])
        return next((p for p in reversed(self._line) if self._examples(p) <= size * BACK_OFF), self._line[0])

    def _examples(self, point: Point) -> int:
        return self.problem.space.knobs[0].values[point[0]]


def aimd(space: ConfigSpace, seed: int = 0) -> Searcher:
    """The controller as a policy; the seed has no effect."""
    return Searcher("aimd", space, Aimd, seed=seed)
