from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from service.learning.baselines.dqn import learn as learn_network
from service.learning.baselines.q_learning import EXPLORING, LEAST_EPSILON, STAY, choices, epsilon
from service.learning.baselines.q_learning import learn as learn_table
from service.learning.search import Steps
from service.learning.space import ConfigSpace, Point
from tests.support.searching import answered, at, bowl, grid

GRID = grid()
Learner = Callable[[ConfigSpace, Point, int], Steps]
LEARNERS: dict[str, Learner] = {"table": learn_table, "network": learn_network}


@pytest.fixture(params=list(LEARNERS))
def learn(request: pytest.FixtureRequest) -> Learner:
    return LEARNERS[request.param]


def test_the_actions_at_a_corner_are_to_stay_and_to_leave_it() -> None:
    assert choices(GRID, at(0, 0)) == {STAY: at(0, 0), (0, 1): at(1, 0), (1, 1): at(0, 1)}


def test_random_actions_become_rare_and_never_end() -> None:
    assert epsilon(0) == 1.0
    assert epsilon(EXPLORING // 2) == pytest.approx((1 + LEAST_EPSILON) / 2)
    assert [epsilon(EXPLORING), epsilon(10 * EXPLORING)] == pytest.approx([LEAST_EPSILON, LEAST_EPSILON])


def test_it_goes_by_single_steps_or_stays(learn: Learner) -> None:
    asked = answered(learn(GRID, at(3, 3), 0), bowl, limit=60)
    assert len(asked) == 60
    assert {sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(asked)} == {0, 1}


def test_what_it_learns_beats_chance(learn: Learner) -> None:
    chance = float(np.mean([bowl(point) for point in GRID.points]))
    late = [np.mean([bowl(p) for p in answered(learn(GRID, at(0, 0), seed), bowl, limit=300)[-60:]]) for seed in (0, 1)]
    assert float(np.mean(late)) < 0.5 * chance


def test_the_same_seed_takes_the_same_way_and_another_seed_another(learn: Learner) -> None:
    ways = [answered(learn(GRID, at(3, 3), seed), bowl, limit=30) for seed in (0, 0, 1)]
    assert ways[0] == ways[1] != ways[2]
