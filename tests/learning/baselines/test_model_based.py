from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from service.learning.baselines.cherrypick import LEAST_SAMPLES, cherrypick
from service.learning.baselines.forest import forest
from service.learning.baselines.model_based import Model, ModelBased
from service.learning.baselines.random_search import Shuffled, random_search
from service.learning.baselines.skopt_cold import skopt_et, skopt_gp
from service.learning.objective import Score
from service.learning.search import Search
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point
from tests.support.searching import at, bowl, grid, played, problem, visit

GRID = grid()
START = GRID.config(at(0, 0))


def measured(search: Search, score: Callable[[Point], float], limit: int = 100) -> list[Point]:
    """The points that a search asks for, one after another, until it ends."""
    asked: list[Point] = []
    while len(asked) < limit and (point := search.ask()) is not None:
        asked.append(point)
        search.problem.known.add(point, Score(score(point), 0.03))
        search.tell(visit(point, 0.01), score(point))
    return asked


@pytest.mark.parametrize("model", ["GP", "ET", "RF"])
def test_it_finds_the_bottom_of_a_bowl_in_half_the_points(model: Model) -> None:
    asked = measured(ModelBased(problem(GRID), model, initial=6, trials=21), bowl)
    assert len(asked) == len(set(asked)) == 21
    assert at(4, 3) in asked


def test_the_first_points_are_random_and_the_next_is_the_most_promising() -> None:
    search = ModelBased(problem(GRID), "GP", initial=5, trials=42, n_restarts_optimizer=0)
    first = measured(Shuffled(problem(GRID), 5), bowl)
    asked = measured(search, lambda point: 0.3 * point[0] + 0.3 * point[1], limit=8)
    assert asked[:5] == first
    assert at(0, 0) in asked[5:]


def test_random_points_come_in_between() -> None:
    def share(random_share: float) -> int:
        search = ModelBased(problem(GRID), "RF", initial=4, trials=30, random_share=random_share, n_estimators=5)
        order = list(np.random.default_rng(0).permutation(len(GRID)))
        asked = [GRID.index(point) for point in measured(search, bowl)]
        # A random point is the first of the shuffled order that was not measured yet.
        return sum(asked[i] == next(p for p in order if p not in asked[:i]) for i in range(4, 30))

    assert share(1.0) == 26
    assert share(0.0) < share(0.5) < 26


def test_cherrypick_stops_when_little_is_left_to_gain_but_not_before_six() -> None:
    flat = played(cherrypick(GRID), lambda config: 0.02, 12, START)
    assert len(set(flat)) == LEAST_SAMPLES
    steep = played(cherrypick(GRID), lambda c: 1e-3 * 2.718 ** (3 * bowl(GRID.nearest(c))), 25, START)
    assert len(set(steep)) > LEAST_SAMPLES
    assert len(set(steep[-3:])) == 1
    assert bowl(GRID.nearest(steep[-1])) <= 0.2


@pytest.mark.parametrize("make", [random_search, skopt_gp, skopt_et, forest])
def test_after_its_trials_it_keeps_the_best(make: Callable[..., Searcher]) -> None:
    configs = played(make(GRID, 0, trials=14), lambda c: 0.01 * 2.718 ** bowl(GRID.nearest(c)), 18, START)
    assert len(set(configs)) == 14
    best = min(set(configs), key=lambda config: bowl(GRID.nearest(config)))
    assert set(configs[-3:]) == {best}


def test_random_search_takes_an_order_of_its_seed() -> None:
    space: ConfigSpace = GRID
    orders = [measured(Shuffled(problem(space, seed=seed), 42), bowl) for seed in (0, 0, 1)]
    assert sorted(orders[0]) == sorted(space.points)
    assert orders[0] == orders[1] != orders[2]
