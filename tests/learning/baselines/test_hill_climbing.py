from __future__ import annotations

import itertools

import pytest

from service.learning.baselines.hill_climbing import climb, hill_climbing
from service.learning.space import default_space
from tests.support.searching import answered, at, bowl, grid, played

GRID = grid()


def test_a_step_that_helps_is_repeated_with_twice_its_length() -> None:
    space = grid(batches=12, timeouts=1)
    asked = answered(climb(space, at(0, 0)), lambda point: -0.2 * point[0])
    assert [point[0] for point in asked[:5]] == [0, 1, 3, 7, 11]


def test_where_up_is_worse_it_goes_down() -> None:
    asked = answered(climb(GRID, at(4, 5)), lambda point: abs(point[0] - 4) + 0.2 * point[1])
    assert asked[:6] == [at(4, 5), at(5, 5), at(3, 5), at(4, 4), at(4, 2), at(4, 0)]


@pytest.mark.parametrize("start", [at(0, 0), at(6, 5), at(6, 0), at(2, 4)])
def test_it_reaches_the_bottom_of_a_bowl_and_ends(start: tuple[int, ...]) -> None:
    asked = answered(climb(GRID, start), bowl)
    assert min(asked, key=bowl) == at(4, 3)
    assert len(asked) < len(GRID)


def test_a_fall_within_the_noise_of_windows_is_no_reason_to_move() -> None:
    asked = answered(climb(GRID, at(3, 3)), lambda point: -0.02 * point[0])
    assert set(asked) == {at(3, 3), at(4, 3), at(2, 3), at(3, 4), at(3, 2)}


def test_steps_into_the_infeasible_are_shortened_or_left_out() -> None:
    space = default_space(2)
    start = next(point for point in space.points if point[0] == 3)
    asked = answered(climb(space, start), lambda point: -0.2 * sum(point))
    assert all(space.has(point) for point in asked)
    assert any(sum(b) > sum(a) for a, b in itertools.pairwise(asked))


def test_as_a_policy_it_settles_on_the_best_it_met() -> None:
    configs = played(hill_climbing(GRID), lambda c: 0.02 * 2.718 ** bowl(GRID.nearest(c)), 30, GRID.config(at(0, 0)))
    assert set(configs[-5:]) == {GRID.config(at(4, 3))}
