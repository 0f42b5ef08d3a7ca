"""Intervals: what they say of runs that never got there, and of policies compared seed by seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.replay import cells, intervals
from benchmarks.statistics import Estimate


def test_a_median_over_runs_that_end_before_is_infinite_where_half_of_them_do() -> None:
    assert intervals.median([3, 4, 5, math.inf, math.inf]).value == 5
    found = intervals.median([3, math.inf, math.inf, math.inf, math.inf])
    assert found.value == math.inf
    assert found.high == math.inf


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [intervals.mean(rng.normal(7.0, 2.0, 40)) for _ in range(100)]
    assert 85 <= sum(one.low <= 7.0 <= one.high for one in found) <= 99


def test_few_seeds_give_no_interval() -> None:
    assert math.isnan(intervals.mean([1.0, 2.0, 3.0]).low)


def test_what_both_share_cancels_in_a_ratio() -> None:
    common = np.random.default_rng(0).uniform(1, 100, 20)
    found = intervals.ratio_of_means(2 * common, common)
    assert (found.low, found.value, found.high) == pytest.approx((2, 2, 2))


def test_a_ratio_of_windows_counts_none_as_one() -> None:
    assert intervals.ratio_of_medians([8] * 5, [0] * 5).value == 8


def test_nothing_over_nothing_is_equal_and_something_over_nothing_infinite() -> None:
    assert intervals.ratio_of_means([0] * 5, [0] * 5).value == 1
    assert intervals.ratio_of_means([1] * 5, [0] * 5).value == math.inf


def test_a_mean_ratio_weighs_every_scenario_alike() -> None:
    ours = np.array([[1.0] * 6, [1000.0] * 6])
    assert intervals.mean_ratio(ours * [[4.0], [1.0]], ours).value == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (cells.windows(Estimate(6, 5, math.inf), 40), "6 [5, > 40]"),
        (cells.windows(Estimate(math.inf, math.nan, math.nan), 40), "> 40"),
        (cells.number(Estimate(12.345, 9.5, 123.4)), "12.3 [9.50, 123]"),
        (cells.percent(Estimate(0.0123, math.nan, math.nan)), "1.23"),
        (cells.times(Estimate(8.0, math.nan, math.nan), at_least=True), "≥ 8.00 ×"),
    ],
)
def test_cells(shown: str, text: str) -> None:
    assert shown == text
