from __future__ import annotations

import json
import math
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram, Interval, exponential_bounds

BOUNDS = (1.0, 2.0, 4.0, 8.0)
FINE = exponential_bounds(1e-4, 1.1, 141)

values = st.lists(st.floats(0, 20), max_size=60)
some_values = st.lists(st.floats(0, 20), min_size=1, max_size=60)
quantiles = st.floats(0.001, 0.999)


def test_a_value_on_an_edge_belongs_below_it() -> None:
    assert Histogram.of([0.0, 1.0, 1.5, 8.0, 8.1], BOUNDS).counts == (2, 1, 0, 1, 1)


def test_count_total_and_mean() -> None:
    histogram = Histogram.of([1.0, 3.0, 5.0], BOUNDS)
    assert (histogram.count, histogram.total, histogram.mean) == (3, 9.0, 3.0)
    assert math.isnan(Histogram.empty(BOUNDS).mean)


@pytest.mark.parametrize(
    ("bounds", "counts", "field"),
    [
        ((1.0, 2.0), (1, 2), "counts"),
        ((2.0, 1.0), (1, 2, 3), "bounds"),
        ((1.0, 1.0), (1, 2, 3), "bounds"),
        ((1.0, math.inf), (1, 2, 3), "bounds"),
        ((1.0, 2.0), (1, -1, 3), "counts"),
    ],
)
def test_wrong_shapes_orders_and_signs_are_refused(
    bounds: tuple[float, ...], counts: tuple[int, ...], field: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Histogram(bounds, counts)
    assert caught.value.field == field


@given(values, values)
def test_what_was_added_is_what_a_difference_gives_back(first: list[float], second: list[float]) -> None:
    one, other = Histogram.of(first, BOUNDS), Histogram.of(second, BOUNDS)
    both = one.plus(other)
    assert both.counts == Histogram.of(first + second, BOUNDS).counts
    assert both.minus(one).counts == other.counts
    assert both.minus(one).total == pytest.approx(other.total, abs=1e-9)


def test_a_count_that_went_down_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="counts"):
        Histogram.of([1.0], BOUNDS).minus(Histogram.of([1.0, 1.0], BOUNDS))


def test_different_buckets_do_not_combine() -> None:
    with pytest.raises(InvalidValueError, match="different buckets"):
        Histogram.of([1.0], BOUNDS).plus(Histogram.of([1.0], (1.0, 3.0)))
    with pytest.raises(InvalidValueError, match="different buckets"):
        Histogram.of([1.0], BOUNDS).minus(Histogram.empty((1.0, 3.0)))


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    histogram = Histogram(BOUNDS, (0, 10, 10, 0, 0))
    assert histogram.quantile(0.25) == 1.5
    assert histogram.quantile(0.5) == 2.0
    assert histogram.quantile(0.75) == 3.0


def test_a_quantile_above_the_last_edge_is_that_edge() -> None:
    histogram = Histogram(BOUNDS, (1, 0, 0, 0, 99))
    assert histogram.quantile(0.5) == 8.0
    assert histogram.quantile_interval(0.5) == Interval(8.0, 8.0, math.inf)


def test_an_empty_histogram_has_no_quantiles() -> None:
    assert math.isnan(Histogram.empty(BOUNDS).quantile(0.5))
    assert math.isnan(Histogram.empty(BOUNDS).fraction_within(1.0))
    with pytest.raises(InvalidValueError, match="empty"):
        Histogram.empty(BOUNDS).quantile_interval(0.5)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_quantile_outside_nought_and_one_is_refused(q: float) -> None:
    with pytest.raises(InvalidValueError, match="q"):
        Histogram.of([1.0], BOUNDS).quantile(q)
    with pytest.raises(InvalidValueError, match="q"):
        Histogram.of([1.0], BOUNDS).quantile_interval(q)


@given(some_values, quantiles)
def test_a_quantile_lies_in_the_bucket_of_the_samples_own(sample: list[float], q: float) -> None:
    own = sorted(sample)[max(math.ceil(q * len(sample)) - 1, 0)]
    index = bisect_left(BOUNDS, own)
    found = Histogram.of(sample, BOUNDS).quantile(q)
    low = BOUNDS[index - 1] if index else 0.0
    high = BOUNDS[index] if index < len(BOUNDS) else BOUNDS[-1]
    assert low <= found <= high


@given(some_values, quantiles, quantiles)
def test_quantiles_ascend(sample: list[float], p: float, q: float) -> None:
    histogram = Histogram.of(sample, BOUNDS)
    assert histogram.quantile(min(p, q)) <= histogram.quantile(max(p, q)) + 1e-9


@given(some_values, quantiles, st.floats(0.55, 0.99))
def test_an_interval_holds_its_estimate_and_the_samples_own_quantile(
    sample: list[float], q: float, confidence: float
) -> None:
    histogram = Histogram.of(sample, BOUNDS)
    interval = histogram.quantile_interval(q, confidence)
    own = sorted(sample)[max(math.ceil(q * len(sample)) - 1, 0)]
    assert interval.low <= interval.value <= interval.high
    assert interval.low <= own <= interval.high


@given(some_values, quantiles)
def test_more_confidence_never_narrows_an_interval(sample: list[float], q: float) -> None:
    histogram = Histogram.of(sample, BOUNDS)
    narrow, wide = histogram.quantile_interval(q, 0.6), histogram.quantile_interval(q, 0.95)
    assert wide.low <= narrow.low
    assert wide.high >= narrow.high


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_the_interval_holds_the_true_quantile_as_often_as_it_says(q: float) -> None:
    """1,000 exponential values, seeded; buckets of 10 % only widen it."""
    rng = np.random.default_rng(1)
    truth = -0.05 * math.log(1 - q)
    hits = 0
    for _ in range(300):
        interval = Histogram.of(rng.exponential(0.05, 1000).tolist(), FINE).quantile_interval(q, 0.9)
        hits += interval.low <= truth <= interval.high
    assert hits >= 0.9 * 300


@pytest.mark.parametrize("n", [20, 100, 229, 230, 300])
def test_a_sample_too_small_to_bound_a_quantile_says_so(n: int) -> None:
    """Else a p99 of 50 requests would be called certain and be too low more often than not."""
    interval = Histogram.of([1.0] * n, BOUNDS).quantile_interval(0.99, 0.9)
    assert math.isinf(interval.high) == (n < 230)


@pytest.mark.parametrize("n", [30, 120, 250, 400])
def test_small_samples_are_not_too_sure_either(n: int) -> None:
    rng = np.random.default_rng(3)
    truth = -0.05 * math.log(1 - 0.99)
    samples = (Histogram.of(rng.exponential(0.05, n).tolist(), FINE) for _ in range(300))
    hits = sum(s.quantile_interval(0.99, 0.9).low <= truth <= s.quantile_interval(0.99, 0.9).high for s in samples)
    assert hits >= 0.87 * 300


def test_coarse_buckets_give_wide_intervals() -> None:
    sample = np.random.default_rng(2).exponential(0.05, 5000).tolist()
    fine = Histogram.of(sample, FINE).quantile_interval(0.99)
    coarse = Histogram.of(sample, exponential_bounds(10e-6, 1.8, 33)).quantile_interval(0.99)
    assert coarse.low <= fine.low < fine.high <= coarse.high
    assert coarse.high / coarse.low >= 1.8
    assert fine.high / fine.low < 1.4


@given(some_values, st.floats(0, 30))
def test_the_share_within_a_bound_brackets_the_samples_own(sample: list[float], bound: float) -> None:
    histogram = Histogram.of(sample, BOUNDS)
    index = bisect_left(BOUNDS, bound)
    low = BOUNDS[index - 1] if index else -1.0
    high = BOUNDS[index] if index < len(BOUNDS) else BOUNDS[-1]
    certain = sum(value <= low for value in sample) / len(sample)
    possible = sum(value <= high for value in sample) / len(sample)
    assert certain - 1e-9 <= histogram.fraction_within(bound) <= possible + 1e-9


def test_the_share_within_an_edge_is_exact() -> None:
    histogram = Histogram.of([0.5, 1.0, 1.5, 9.0], BOUNDS)
    assert histogram.fraction_within(1.0) == 0.5
    assert histogram.fraction_within(2.0) == 0.75
    assert histogram.fraction_within(100.0) == 0.75


@given(values)
def test_a_histogram_survives_json(sample: list[float]) -> None:
    histogram = Histogram.of(sample, BOUNDS)
    assert Histogram.from_dict(json.loads(json.dumps(histogram.to_dict()))) == histogram


@pytest.mark.parametrize(
    "interval", [Interval(1.0, 2.0, 3.0), Interval(1.0, 2.0, math.inf), Interval(-math.inf, 0.0, math.inf)]
)
def test_an_interval_survives_json(interval: Interval) -> None:
    text = json.dumps(interval.to_dict(), allow_nan=False)
    assert Interval.from_dict(json.loads(text)) == interval


@pytest.mark.parametrize("ends", [(2.0, 1.0, 3.0), (1.0, 4.0, 3.0), (math.nan, 1.0, 2.0)])
def test_an_interval_out_of_order_is_refused(ends: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidValueError, match="low ≤ value ≤ high"):
        Interval(*ends)


def test_exponential_bounds_are_tensorflow_servings() -> None:
    assert exponential_bounds(10, 1.8, 3) == pytest.approx((10, 18, 32.4))
