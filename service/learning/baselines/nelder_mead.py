"""Nelder–Mead: the downhill simplex over the lattice's coordinates (as TensorTuner tunes TensorFlow's threads).

The simplex lives in normalised coordinates, each axis from 0 to 1; a vertex is measured at the feasible point nearest
to it. Coefficients are the usual ones: reflection 1, expansion 2, contraction ½, shrinkage ½. The search ends when all
vertices lie at one point, or when a number of vertices were looked at.

SciPy's simplex calls the function it minimises; here the function is a window that has yet to be measured, so the few
lines of the algorithm stand in the form that asks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.learning.moves import nearest_point
from service.learning.search import Steps, Stepwise
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

Array = NDArray[np.float64]

#: How far the first simplex reaches along each axis, as a share of the axis.
FIRST_STEP = 0.5
#: Vertices looked at, at most; bounds a simplex that creeps between the same points.
MAX_VERTICES = 200


def descend(space: ConfigSpace, start: Point) -> Steps:
    """The algorithm: yields points, receives scores."""
    lengths = np.array([max(len(knob.values) - 1, 1) for knob in space.knobs], dtype=float)
    free = [axis for axis, knob in enumerate(space.knobs) if len(knob.values) > 1]
    vertices = [np.array(start) / lengths]
    for axis in free:
        vertex = vertices[0].copy()
        vertex[axis] += FIRST_STEP if vertex[axis] <= 1 - FIRST_STEP else -FIRST_STEP
        vertices.append(vertex)
    seen = len(vertices)

    def point_of(vertex: Array) -> Point:
        return nearest_point(space, np.clip(vertex, 0.0, 1.0) * lengths)

    scores = [0.0] * len(vertices)
    for i, vertex in enumerate(vertices):
        scores[i] = yield point_of(vertex)
    while seen < MAX_VERTICES and len({point_of(vertex) for vertex in vertices}) > 1:
        order = np.argsort(scores, kind="stable")
        vertices, scores = [vertices[i] for i in order], [scores[i] for i in order]
        centre = np.mean(vertices[:-1], axis=0)
        away = centre - vertices[-1]
        trial = centre + away
        score = yield point_of(trial)
        seen += 1
        if score < scores[0]:
            further = yield point_of(centre + 2 * away)
            seen += 1
            if further < score:
                trial, score = centre + 2 * away, further
        elif score >= scores[-2]:
            outside = score < scores[-1]
            inner = centre + (0.5 if outside else -0.5) * away
            closer = yield point_of(inner)
            seen += 1
            if closer >= min(score, scores[-1]):
                for i in range(1, len(vertices)):
                    vertices[i] = vertices[0] + 0.5 * (vertices[i] - vertices[0])
                    scores[i] = yield point_of(vertices[i])
                    seen += 1
                continue
            trial, score = inner, closer
        vertices[-1], scores[-1] = np.clip(trial, 0.0, 1.0), score


def nelder_mead(space: ConfigSpace, seed: int = 0) -> Searcher:
    """The simplex as a policy; the seed has no effect."""
    return Searcher("nelder_mead", space, lambda p: Stepwise(p, descend(p.space, p.start)), seed=seed)
