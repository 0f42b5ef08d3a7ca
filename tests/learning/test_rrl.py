from __future__ import annotations

import math

import numpy as np
import pytest

from service.domain.decision import Intent
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.rrl import RRL, Cost, Estimator, _Table, ball, probabilities, updated
from service.learning.space import ConfigSpace, Knob, Point
from tests.support.searching import LOAD, SLO, at, grid, played, problem, visit, window

#: The artefact's own grid: three knobs of eleven values, all feasible.
CUBE = ConfigSpace(
    [
        Knob("max_batch_size", (32,)),
        Knob("batch_timeout_micros", (0,)),
        Knob("num_batch_threads", tuple(range(1, 12))),
        Knob("tensorflow_inter_op_parallelism", tuple(range(11))),
        Knob("tensorflow_intra_op_parallelism", tuple(range(11))),
        Knob("instances", (1,)),
    ],
    cpus=100,
)
MIDDLE = (0, 0, 5, 5, 5, 0)
GRID = grid()


def test_the_softmax_is_of_twenty_million_over_microseconds() -> None:
    chances = probabilities(np.array([1e6, 2e6]))  # z = 20, 10
    np.testing.assert_allclose(chances, [1 / (1 + math.exp(-10)), 1 / (1 + math.exp(10))])


def test_large_exponents_are_halved_until_none_exceeds_500() -> None:
    chances = probabilities(np.array([1e4, 1.01e4]))  # z = 2000, 1980.2 → 500, 495.05
    assert chances[1] / chances[0] == pytest.approx(math.exp(-4.950495))


def test_the_region_has_the_size_it_has_in_the_artefact() -> None:
    assert len(CUBE) == 1331
    assert len(ball(CUBE, MIDDLE)) == 123
    distances = np.linalg.norm(CUBE.coordinates[ball(CUBE, MIDDLE)] - np.array(MIDDLE), axis=1)
    assert distances.max() == 3.0


def test_an_update_blends_three_tenths_of_the_estimate_into_the_regions_cells() -> None:
    table = np.array([100.0, 100.0, 50.0])
    after = updated(table, np.array([1, 2]), np.array([200.0, 60.0]))
    np.testing.assert_allclose(after, [100.0, 130.0, 53.0])


def test_the_middle_cell_runs_first_and_fills_the_table() -> None:
    policy = RRL(CUBE)
    policy.observe(LOAD, ServingConfig(), window(0.5))
    answer = policy.suggest(LOAD, ServingConfig(), SLO)
    assert (CUBE.nearest(answer.config), answer.intent) == (MIDDLE, Intent.EXPLORE)
    search = _Table(problem(CUBE), "mean", epochs=1)
    search.tell(visit(CUBE.points[0], 0.5), 0.0)
    assert search.ask() == MIDDLE
    search.tell(visit(MIDDLE, 0.1), 0.0)
    assert search._table is not None
    np.testing.assert_allclose(search._table, 1e5)


def test_a_step_changes_the_region_of_what_ran_and_nothing_else() -> None:
    search = _Table(problem(CUBE), "mean", epochs=1)
    search.tell(visit(MIDDLE, 0.1), 0.0)
    corner = (0, 0, 0, 0, 0, 0)
    search.tell(visit(corner, 0.02), 0.0)
    assert search._table is not None
    changed = set(np.flatnonzero(~np.isclose(search._table, 1e5, rtol=1e-9)).tolist())
    assert changed
    assert changed <= set(ball(CUBE, corner).tolist())
    assert search._table.min() >= 0.7e5 + 0.3 * 0.5 * 0.02e6 - 1e-6


@pytest.mark.parametrize(("cost", "seconds"), [("mean", 0.0202), ("tail", 0.04)])
def test_the_cost_is_the_mean_as_published_or_the_objectives_tail(cost: Cost, seconds: float) -> None:
    latencies = [0.02] * 990 + [0.04] * 10
    search = _Table(problem(GRID), cost, epochs=1)
    seen = visit(at(3, 2), 0.02)
    histogram = type(seen.measurement.latency).of(latencies, seen.measurement.latency.bounds)
    measurement = type(seen.measurement)(histogram, 0.0, None, 0)
    search.tell(type(seen)(at(3, 2), seen.context, measurement), math.log(0.04 / SLO.bound_seconds))
    assert search._table is not None
    np.testing.assert_allclose(search._table, seconds * 1e6)


def test_the_estimator_learns_how_cost_depends_on_load_and_place() -> None:
    rng = np.random.default_rng(0)
    inputs = np.column_stack([rng.choice([0.07, 0.12], 200), rng.integers(0, 11, (200, 3))])
    costs = 1e5 + 1e4 * inputs[:, 1] - 4e5 * inputs[:, 0]
    estimator = Estimator(inputs[:150], costs[:150], epochs=20, rng=rng)
    errors = estimator.costs(inputs[150:]) - costs[150:]
    assert np.abs(errors).mean() < 0.2 * costs.std()


def test_an_estimator_of_rows_all_alike_says_what_they_say() -> None:
    inputs, costs = np.tile([0.1, 3.0, 3.0], (4, 1)), np.full(4, 2e4)
    estimator = Estimator(inputs, costs, epochs=5, rng=np.random.default_rng(0))
    np.testing.assert_allclose(estimator.costs(inputs), 2e4, atol=1.0)


def good(point: Point) -> bool:
    return point[0] <= 1


def test_it_comes_to_prefer_where_latency_is_low() -> None:
    policy = RRL(GRID, seed=1)
    configs = played(policy, lambda c: 0.02 if good(GRID.nearest(c)) else 0.1, 60, GRID.config(at(6, 5)))
    late = [good(GRID.nearest(config)) for config in configs[-20:]]
    assert sum(late) / len(late) > 0.8  # two columns in seven: chance is 0.29


def test_one_table_serves_all_loads() -> None:
    policy = RRL(GRID)
    middle = GRID.config(at(3, 2))
    policy.observe(LOAD, middle, window(0.02))
    other = Workload(900.0)
    policy.observe(other, middle, window(0.02, other))
    answer = policy.suggest(Workload(50.0), middle, SLO, explore=False)
    assert "1" in answer.explanation
    assert answer.config == middle
    assert answer.predicted_tail is not None
