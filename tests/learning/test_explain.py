from __future__ import annotations

import pytest

from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning import explain
from service.learning.context import Context
from service.learning.history import History
from service.learning.space import ConfigSpace, default_space
from service.learning.surrogate import Posterior, posterior
from tests.support.landscape import BOUNDS

SLO = Slo(0.05)
LOAD = Workload(200.0)


def known(space: ConfigSpace, tails: dict[ServingConfig, float]) -> Posterior:
    history = History()
    for config, seconds in tails.items():
        for _ in range(3):
            latency = Histogram.of([seconds] * 500, BOUNDS)
            window = Window(started_at=0.0, duration_seconds=5.0, latency=latency, workload=LOAD, succeeded=500)
            history.add(Context.of(LOAD), config, window)
    return posterior(history, Context.of(LOAD), SLO, space.cpus, None)


def small_space() -> ConfigSpace:
    pinned = {"tensorflow_inter_op_parallelism": 0, "tensorflow_intra_op_parallelism": 1, "instances": 1}
    return default_space(2, bounds={"batch_timeout_micros": (0, 0), "num_batch_threads": (2, 2)}, pinned=pinned)


def by_batch(space: ConfigSpace, tails: dict[int, float]) -> dict[ServingConfig, float]:
    sizes = {space.values(point)["max_batch_size"]: space.config(point) for point in space.points}
    return {sizes[size]: seconds for size, seconds in tails.items()}


def test_a_range_holds_the_neighbours_that_are_about_as_good_and_ends_before_a_worse_one() -> None:
    space = small_space()
    tails = by_batch(space, {0: 0.04, 2: 0.03, 4: 0.01, 8: 0.0102, 16: 0.0101, 32: 0.02, 64: 0.0101, 128: 0.02})
    config = next(config for config in tails if config.max_batch_size == 8)
    assert explain.acceptable(space, known(space, tails), config)["max_batch_size"] == (4, 16)


def test_pinned_knobs_have_their_one_value() -> None:
    space = small_space()
    tails = by_batch(space, {2: 0.03, 4: 0.01})
    ranges = explain.acceptable(space, known(space, tails), next(iter(tails)))
    assert ranges["tensorflow_intra_op_parallelism"] == (1, 1)
    assert ranges["instances"] == (1, 1)


def test_a_value_that_would_miss_the_objective_is_not_acceptable_however_near() -> None:
    space = small_space()
    tails = by_batch(space, {4: 0.0485, 8: 0.052})
    posterior = known(space, tails)
    config = next(config for config in tails if config.max_batch_size == 4)
    assert posterior.belief(list(tails)).mean[1] > 0
    assert explain.acceptable(space, posterior, config)["max_batch_size"][1] == 4


def test_with_batching_off_the_other_batching_knobs_have_no_range() -> None:
    space = default_space(2)
    ranges = explain.acceptable(space, known(space, {ServingConfig(): 0.02}), ServingConfig())
    assert ranges["max_batch_size"] == (0, 0)
    assert "batch_timeout_micros" not in ranges
    assert "num_batch_threads" not in ranges


def test_confidence_falls_with_uncertainty() -> None:
    values = [explain.confidence(sigma) for sigma in (0.01, 0.05, 0.1, 0.5, 2.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.0, abs=1e-6)
    assert 0 < values[-1] < 0.05


def test_words() -> None:
    assert explain.against(SLO, 0.12) == "p99 120 ms > 50 ms"
    assert explain.against(SLO, 0.0312) == "p99 31.2 ms ≤ 50 ms"
    assert explain.load(Workload(300.0)) == "300/s"
    assert explain.load(Workload(300.0, cv=4.0)) == "300/s (bursty, CV 4.0)"
    assert (explain.windows(1), explain.windows(3)) == ("1 window", "3 windows")
