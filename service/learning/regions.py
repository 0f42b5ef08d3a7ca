"""Region: the ball of grid points in which the next configuration is sought, and how its radius adapts.

The ball is RRL's (Euclidean on grid indices, radius 3 to begin with). Its radius follows what the trials round the best
configuration brought, as trust regions do (TuRBO, Eriksson et al. 2019): it grows with success, shrinks with
repeated failure, and where it collapses the next trial is sought in the whole space before a ball of the first size
is drawn again. The region is computed from the trials in their order; it holds no state of its own.

What became of RRL's other half. RRL copies a share α of each estimate into every cell of the ball. With latency
L-Lipschitz on the grid that biases a neighbour by up to L times the radius, and feeding such a table to the surrogate
as its mean would count each window twice. The surrogate's covariance does the same work without either fault: a
neighbour takes a share of the value that falls with its distance, is told how uncertain it remains, and each window
counts once. So the region stays, and the table does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.learning.space import ConfigSpace, Point

#: RRL's radius.
START_RADIUS = 3.0
#: A ball of this radius holds about a thousand points of a six-knob lattice; more helps no search of tens of trials.
MAX_RADIUS = 4.5
#: The ball of direct neighbours.
MIN_RADIUS = 1.0
GROWTH = 1.5
#: Failures in a row after which the radius shrinks by the same factor.
PATIENCE = 4
#: By how much a score must fall below the best so far for the trial to count as a success.
SUCCESS_GAIN = 0.03
#: Points of a region at most; the nearest to its centre are kept. Bounds the time of a suggestion.
MAX_POINTS = 1_200


def promises_kept(scores: Sequence[float]) -> float:
    """What part of a promised gain is to be counted on, 0 to 1: the share of trials that kept their promise.

    Each trial was made because it promised to beat the best before it. One kept promise is assumed beforehand.

    Args:
        scores: Of the trials, in the order in which they were first made; the first is where the search began.
    """
    best, kept, made = float("inf"), 1, 1
    for score in scores:
        if best < float("inf"):
            made += 1
            kept += score < best - SUCCESS_GAIN
        best = min(best, score)
    return kept / made


@dataclass(frozen=True, slots=True)
class Region:
    """A ball on the grid.

    Attributes:
        radius: In grid steps.
        whole_space: Whether the ball has collapsed, so that the next trial is sought everywhere.
    """

    radius: float = START_RADIUS
    whole_space: bool = False

    @classmethod
    def after(cls, scores: Sequence[float]) -> Region:
        """The region after trials with these scores, in the order in which they were first made."""
        radius, failures, best, collapsed = START_RADIUS, 0, float("inf"), False
        for score in scores:
            collapsed = False
            if score < best - SUCCESS_GAIN:
                radius = min(radius * GROWTH, MAX_RADIUS) if best < float("inf") else radius
                best, failures = score, 0
                continue
            failures += 1
            if failures == PATIENCE:
                radius, failures = radius / GROWTH, 0
            if radius < MIN_RADIUS:
                radius, collapsed = START_RADIUS, True
        return cls(radius, collapsed)

    def points(self, space: ConfigSpace, centre: Point, rng: np.random.Generator) -> NDArray[np.intp]:
        """Positions in ``space.points`` of the region's points, nearest first, at most :data:`MAX_POINTS`.

        Points equally near are taken in an order drawn from ``rng``, and so is the sample of the whole space.
        """
        if self.whole_space:
            return rng.permutation(len(space))[:MAX_POINTS]
        squared = np.square(space.coordinates - np.asarray(centre)).sum(axis=1)
        inside = np.flatnonzero(squared <= self.radius**2 + 1e-9)
        order = np.lexsort((rng.random(len(inside)), squared[inside]))
        return inside[order][:MAX_POINTS]
