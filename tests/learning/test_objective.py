from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.learning.history import Measurement
from service.learning.objective import OVERFLOW_NOISE, Objective
from tests.support.landscape import BOUNDS

SLO = Slo(0.05)


def measured(seconds: float, count: int = 1000, loss: float = 0.0) -> Measurement:
    return Measurement(Histogram.of([seconds] * count, BOUNDS), loss, None, 0)


def test_a_score_below_zero_meets_the_objective() -> None:
    objective = Objective(SLO)
    assert objective.score(measured(0.03)).value < 0 < objective.score(measured(0.08)).value


def test_differences_of_scores_are_relative_differences_of_latency() -> None:
    objective = Objective(SLO)
    fast, slow = objective.score(measured(0.01)), objective.score(measured(0.02))
    assert slow.value - fast.value == pytest.approx(math.log(2), abs=0.1)  # a bucket is a tenth wide


@given(st.floats(-8.0, 8.0), st.floats(-8.0, 8.0), st.floats(1.0, 4.0))
def test_less_latency_is_a_lower_score_and_scores_read_back_as_latencies(a: float, b: float, knee: float) -> None:
    objective = Objective(SLO, knee)
    scores = [objective._compressed(value, 0.1).value for value in (a, b)]
    if a + 1e-6 < b:
        assert scores[0] < scores[1]
    assert objective.seconds(scores[0]) == pytest.approx(SLO.bound_seconds * math.exp(a), rel=1e-6)


def test_lost_requests_are_a_violation_however_fast_the_rest() -> None:
    objective = Objective(SLO)
    assert objective.score(measured(0.001, loss=0.2)).value > 0
    assert objective.score(measured(0.001, loss=0.2)).value < objective.score(measured(0.001, loss=0.9)).value
    assert objective.score(measured(0.001, loss=0.005)).value < 0


def test_a_window_in_which_everything_was_lost_has_a_score() -> None:
    nothing = Measurement(Histogram.empty(BOUNDS), 1.0, None, 0)
    assert Objective(SLO).score(nothing).value > 1.0


def test_cliffs_are_compressed_and_ordinary_differences_are_not() -> None:
    objective = Objective(SLO)
    assert objective.score(measured(50.0)).value < 4.0
    assert objective.score(measured(0.06)).value == pytest.approx(math.log(1.2), abs=0.1)


def test_where_nothing_meets_the_bound_ordinary_differences_still_count_in_full() -> None:
    hopeless = Objective.over(Slo(0.0001), least_tail=0.02)
    difference = hopeless.score(measured(0.04)).value - hopeless.score(measured(0.02)).value
    assert difference == pytest.approx(math.log(2), abs=0.1)


def test_a_thin_window_is_less_certain_than_a_full_one() -> None:
    objective = Objective(SLO)
    spread = [0.01 * 1.05**i for i in range(30)]
    thin = Measurement(Histogram.of(spread, BOUNDS), 0.0, None, 0)
    full = Measurement(Histogram.of(spread * 100, BOUNDS), 0.0, None, 0)
    assert objective.score(full).sigma < objective.score(thin).sigma


def test_a_tail_above_the_last_bucket_is_only_known_roughly() -> None:
    beyond = Measurement(Histogram.of([1e6] * 500, BOUNDS), 0.0, None, 0)
    objective = Objective(SLO, knee=50.0)
    assert objective.score(beyond).sigma == OVERFLOW_NOISE


def test_a_belief_becomes_an_interval_of_latencies() -> None:
    interval = Objective(SLO).interval(math.log(0.5), 0.1)
    assert interval.value == pytest.approx(0.025)
    assert interval.low == pytest.approx(0.025 * math.exp(-0.1645), rel=1e-3)
    assert interval.high == pytest.approx(0.025 * math.exp(0.1645), rel=1e-3)
