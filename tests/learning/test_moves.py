from __future__ import annotations

from service.learning.moves import actions, moved, nearest_point
from service.learning.space import default_space
from tests.support.searching import at, grid

GRID = grid()


def test_a_step_goes_along_its_axis_and_stops_at_the_end() -> None:
    assert moved(GRID, at(2, 2), 0, 1) == at(3, 2)
    assert moved(GRID, at(2, 2), 1, -2) == at(2, 0)
    assert moved(GRID, at(5, 2), 0, 4) == at(6, 2)


def test_a_step_from_the_end_or_along_a_pinned_axis_is_none() -> None:
    assert moved(GRID, at(6, 2), 0, 1) is None
    assert moved(GRID, at(2, 2), 3, 1) is None


def test_turning_batching_off_drops_its_knobs_and_infeasible_points_are_no_moves() -> None:
    space = default_space(2)
    batching = next(p for p in space.points if p[0] == 1 and p[1] == 2 and p[2] == 1)
    assert moved(space, batching, 0, -1) == (0, 0, 0, *batching[3:])
    crowded = next(p for p in space.points if not space.has((*p[:2], p[2] + 1, *p[3:])) and p[0] > 0 and p[2] < 2)
    assert moved(space, crowded, 2, 1) is None


def test_with_batching_off_its_knobs_do_not_move() -> None:
    space = default_space(2)
    off = space.points[0]
    assert moved(space, off, 1, 1) is None
    assert moved(space, off, 2, 1) is None
    assert moved(space, off, 0, 1) == (1, *off[1:])


def test_actions_are_one_step_either_way_along_each_free_axis() -> None:
    assert actions(GRID) == ((0, 1), (0, -1), (1, 1), (1, -1))


def test_coordinates_between_points_belong_to_the_nearest_feasible_one() -> None:
    assert nearest_point(GRID, (2.6, 1.2, 0, 0, 0, 0)) == at(3, 1)
    assert nearest_point(GRID, (9.0, -3.0, 0, 0, 0, 0)) == at(6, 0)
