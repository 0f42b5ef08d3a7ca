from __future__ import annotations

import numpy as np
import pytest

from service.learning.regions import (
    MAX_POINTS,
    MAX_RADIUS,
    MIN_RADIUS,
    PATIENCE,
    START_RADIUS,
    Region,
    promises_kept,
)
from service.learning.space import ConfigSpace, default_space

SPACE = default_space(2)


def distances(space: ConfigSpace, region: Region, centre: tuple[int, ...], seed: int = 0) -> np.ndarray:
    found = region.points(space, centre, np.random.default_rng(seed))
    return np.asarray(np.sqrt(np.square(space.coordinates[found] - np.asarray(centre)).sum(axis=1)))


def test_it_starts_with_the_radius_of_the_original() -> None:
    assert Region.after([]).radius == Region.after([0.0]).radius == START_RADIUS == 3.0


def test_it_grows_with_success_up_to_a_limit() -> None:
    assert Region.after([0.0, -0.5]).radius > START_RADIUS
    assert Region.after([-0.5 * i for i in range(20)]).radius == MAX_RADIUS


def test_it_shrinks_only_after_repeated_failure() -> None:
    assert Region.after([0.0] * PATIENCE).radius == START_RADIUS
    assert Region.after([0.0] * (PATIENCE + 1)).radius < START_RADIUS


def test_an_improvement_within_the_noise_is_no_success() -> None:
    assert Region.after([0.0, -0.01]).radius == START_RADIUS


def test_where_it_collapses_one_trial_is_sought_everywhere_and_it_begins_anew() -> None:
    regions = [Region.after([0.0] * n) for n in range(1, 40)]
    collapses = [i for i, region in enumerate(regions) if region.whole_space]
    assert collapses
    for i in collapses:
        assert regions[i].radius == START_RADIUS
        assert not regions[i + 1].whole_space
    assert all(region.radius >= MIN_RADIUS for region in regions)


@pytest.mark.parametrize("centre", [SPACE.points[0], SPACE.points[-1], SPACE.points[len(SPACE) // 2]])
def test_the_ball_holds_every_feasible_point_within_the_radius_and_no_other(centre: tuple[int, ...]) -> None:
    found = distances(SPACE, Region(2.0), centre)
    everywhere = np.sqrt(np.square(SPACE.coordinates - np.asarray(centre)).sum(axis=1))
    assert found.max() <= 2.0
    assert len(found) == (everywhere <= 2.0).sum()
    assert list(found) == sorted(found)


def test_the_number_of_points_is_bounded_and_the_nearest_are_kept() -> None:
    space = default_space(16)
    found = distances(space, Region(MAX_RADIUS), space.points[len(space) // 2])
    assert len(found) == MAX_POINTS
    assert found[0] == 0.0


def test_the_whole_space_is_sampled_alike_for_the_same_seed_and_otherwise_for_another() -> None:
    space, region = default_space(16), Region(whole_space=True)
    draws = [region.points(space, space.points[0], np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert max(draws[0]) > len(space) // 2


def test_before_any_trial_a_promise_is_believed() -> None:
    assert promises_kept([]) == promises_kept([0.3]) == 1.0


def test_promises_count_by_the_share_that_was_kept() -> None:
    assert promises_kept([0.0, -0.5, -0.6]) == 1.0
    assert promises_kept([0.0, -0.5, -0.4, -0.51]) == 0.5
    assert promises_kept([0.0] * 10) == 0.1
