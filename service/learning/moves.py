"""Moves: steps from one feasible grid point to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from service.learning.space import BATCHING_OFF, ConfigSpace, Point

#: An axis, and steps along it.
Action = tuple[int, int]


def moved(space: ConfigSpace, point: Point, axis: int, by: int) -> Point | None:
    """The point ``by`` steps along an axis, or as far as the axis reaches; None where that is no feasible move.

    Where the move turns batching off, the knobs of batching lose their meaning and take their lowest values.
    """
    there = list(point)
    there[axis] = min(max(there[axis] + by, 0), len(space.knobs[axis].values) - 1)
    if space.knobs[0].values[there[0]] == BATCHING_OFF:
        there[1] = there[2] = 0
    found = tuple(there)
    return found if found != point and space.has(found) else None


def actions(space: ConfigSpace) -> tuple[Action, ...]:
    """One step up and one down along each axis that has more than one value."""
    return tuple((axis, by) for axis, knob in enumerate(space.knobs) if len(knob.values) > 1 for by in (1, -1))


def nearest_point(space: ConfigSpace, coordinates: ArrayLike) -> Point:
    """The feasible point nearest to grid coordinates, which may lie between points; the first on a tie."""
    distances = np.square(space.coordinates - np.asarray(coordinates, dtype=float)).sum(axis=1)
    return space.points[int(distances.argmin())]
