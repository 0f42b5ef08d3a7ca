from __future__ import annotations

import pytest

from service.learning.baselines.nelder_mead import MAX_VERTICES, descend
from service.learning.space import Point, default_space
from tests.support.searching import answered, at, bowl, grid

GRID = grid()
#: The first simplex from the corner: half of each axis.
FIRST = [at(0, 0), at(3, 0), at(0, 2)]


def asked(scores: dict[Point, float]) -> list[Point]:
    """What is asked for while the scores of the points are told."""
    steps = descend(GRID, at(0, 0))
    points = [next(steps)]
    while points[-1] in scores:
        points.append(steps.send(scores[points[-1]]))
    return points


def test_it_begins_with_a_simplex_of_half_the_axes() -> None:
    assert asked({at(0, 0): 3.0, at(3, 0): 2.0}) == FIRST


SCORES = {at(0, 0): 3.0, at(3, 0): 2.0, at(0, 2): 1.0}


def test_the_worst_vertex_is_reflected_at_the_others() -> None:
    assert asked(SCORES)[3:] == [at(3, 2)]


def test_a_reflection_better_than_the_best_is_expanded() -> None:
    assert asked(SCORES | {at(3, 2): 0.5})[4:] == [at(4, 4)]


def test_a_reflection_worse_than_all_is_contracted_inside() -> None:
    assert asked(SCORES | {at(3, 2): 9.0})[4:] == [at(1, 1)]


def test_a_reflection_better_than_the_worst_alone_is_contracted_outside() -> None:
    assert asked(SCORES | {at(3, 2): 2.5})[4:] == [at(2, 2)]


def test_where_contraction_fails_the_simplex_shrinks_to_the_best_vertex() -> None:
    points = asked(SCORES | {at(3, 2): 9.0, at(1, 1): 9.0})
    # Half of the way from (3, 0) and from (0, 0) to the best, (0, 2½); (1, 1) was measured as the contraction.
    assert points[5:] == [at(1, 1), at(0, 1)]


@pytest.mark.parametrize("start", [at(0, 0), at(6, 5)])
def test_it_comes_near_the_bottom_of_a_bowl_and_ends(start: Point) -> None:
    points = answered(descend(GRID, start), bowl)
    assert min(bowl(point) for point in points) <= 0.3
    assert len(points) <= MAX_VERTICES + len(FIRST) + 1


def test_all_it_asks_for_is_feasible_and_it_ends_on_a_plain() -> None:
    space = default_space(2)
    points = answered(descend(space, space.points[0]), lambda point: 0.0)
    assert all(space.has(point) for point in points)
    assert len(points) <= 2 * MAX_VERTICES


def test_a_space_of_one_point_is_searched_at_once() -> None:
    space = grid(batches=1, timeouts=1)
    assert answered(descend(space, at(0, 0)), bowl) == [at(0, 0)]
