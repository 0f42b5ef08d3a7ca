from __future__ import annotations

import itertools

from service.learning.baselines.annealing import anneal
from service.learning.space import Point
from tests.support.searching import answered, at, bowl, grid

GRID = grid()


def test_it_measures_as_many_configurations_as_it_may_and_ends() -> None:
    assert len(set(answered(anneal(GRID, at(0, 0), seed=0, trials=20), lambda point: 0.0))) == 20


def test_it_ends_when_nothing_new_is_left() -> None:
    space = grid(batches=2, timeouts=2)
    assert set(answered(anneal(space, at(0, 0), seed=0, trials=20), bowl, limit=10_000)) == set(space.points)


def test_it_walks_by_single_steps() -> None:
    asked = answered(anneal(GRID, at(0, 0), seed=3), lambda point: 0.0)
    assert all(sum(abs(a - b) for a, b in zip(*pair, strict=True)) <= 1 for pair in itertools.pairwise(asked))


def uphill(seed: int, rise: float) -> int:
    """Steps taken up a slope that rises by ``rise`` with each point."""
    space = grid(batches=40, timeouts=1)
    asked = answered(anneal(space, at(0, 0), seed=seed, trials=30), lambda point: rise * point[0])
    return max(point[0] for point in asked)


def test_it_climbs_gentle_slopes_and_no_steep_ones() -> None:
    assert max(uphill(seed, 0.05) for seed in range(5)) >= 4
    assert max(uphill(seed, 3.0) for seed in range(5)) <= 2


def test_it_finds_the_bottom_of_a_bowl() -> None:
    found: list[Point] = [min(answered(anneal(GRID, at(0, 0), seed, trials=40), bowl), key=bowl) for seed in range(3)]
    assert found.count(at(4, 3)) >= 2
