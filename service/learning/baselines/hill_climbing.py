"""Hill climbing from the default, one knob after another, with growing steps (as Model Analyzer's quick search climbs).

Along each axis in turn: one step up and, if that is no better, one down. A step that helped is repeated with twice its
length for as long as it helps. The search ends when no single step along any axis helps. Triton's Model Analyzer moves
several coordinates at once by what it measured in a neighbourhood; with windows as dear as ours, one at a time is the
faster form, and the stronger rival.
"""

from __future__ import annotations

from service.learning.moves import moved
from service.learning.objective import WINDOW_NOISE
from service.learning.search import Steps, Stepwise
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

#: A step helps when the score falls by more than windows of one configuration differ.
GAIN = WINDOW_NOISE


def climb(space: ConfigSpace, start: Point) -> Steps:
    """The algorithm: yields points, receives scores."""
    here, best = start, (yield start)
    axis = fruitless = 0
    while fruitless < len(space.knobs):
        improved = False
        for direction in (1, -1):
            by = direction
            while (there := _reachable(space, here, axis, by)) is not None:
                score = yield there
                if score > best - GAIN:
                    break
                here, best, improved = there, score, True
                by *= 2
            if improved:
                break
        fruitless = 0 if improved else fruitless + 1
        axis = (axis + 1) % len(space.knobs)


def _reachable(space: ConfigSpace, here: Point, axis: int, by: int) -> Point | None:
    """The point ``by`` steps along the axis; with half the steps, and so on, where that is infeasible."""
    while by:
        there = moved(space, here, axis, by)
        if there is not None:
            return there
        by = int(by / 2)
    return None


def hill_climbing(space: ConfigSpace, seed: int = 0) -> Searcher:
    """Hill climbing as a policy; the seed has no effect."""
    return Searcher("hill_climbing", space, lambda p: Stepwise(p, climb(p.space, p.start)), seed=seed)
