"""Estimates say what the repeats say, and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.statistics import FEWEST_REPEATS, bootstrap, median, paired_ratio, quantile


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_quantile_is_one_of_the_values() -> None:
    values = list(range(1, 101))
    assert quantile(values, 0.99) == 99
    assert quantile(values, 0.5) == 50
    assert quantile([3.0], 0.99) == 3.0


def test_a_quantile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(quantile([], 0.99))


def test_the_interval_holds_the_value_and_stays_within_the_repeats() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    estimate = bootstrap(values, median, rng())
    assert 1.0 <= estimate.low < estimate.value == 3.5 < estimate.high <= 6.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1)
    samples = draws.normal(10.0, 1.0, size=(200, 15))
    covered = 0
    for sample in samples:
        estimate = bootstrap(sample.tolist(), median, draws, resamples=200)
        covered += estimate.low <= 10.0 <= estimate.high
    assert 0.82 <= covered / 200 <= 0.97


def test_few_repeats_give_a_value_without_an_interval() -> None:
    estimate = bootstrap([1.0] * (FEWEST_REPEATS - 1), median, rng())
    assert estimate.value == 1.0
    assert math.isnan(estimate.low)
    assert str(estimate) == "1.00"
    assert estimate.to_dict() == {"value": 1.0, "low": None, "high": None}


def test_no_repeat_gives_nothing() -> None:
    with pytest.raises(ValueError, match="nothing was repeated"):
        bootstrap([], median, rng())


def test_ratios_are_taken_within_a_round() -> None:
    # The machine slows down by ten in some rounds; the ratio within each is the same.
    slow = [1.0, 0.1, 1.0, 0.1, 0.1, 1.0]
    ours = {index: 300 * factor for index, factor in enumerate(slow)}
    theirs = {index: 100 * factor for index, factor in enumerate(slow)}
    ratio = paired_ratio(ours, theirs, rng())
    assert ratio is not None
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((3, 3, 3))


def test_rounds_without_a_partner_are_left_out() -> None:
    ratio = paired_ratio({0: 10.0, 1: 10.0, 2: 99.0}, {0: 5.0, 1: 0.0, 3: 1.0}, rng())
    assert ratio is not None
    assert ratio.value == 2.0
    assert paired_ratio({0: 1.0}, {1: 1.0}, rng()) is None
