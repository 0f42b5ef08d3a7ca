from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.workload import Workload
from service.learning.context import Context

rates = st.floats(0.0, 1e9)


@pytest.mark.parametrize("rate", [0.5, 100.0, 20_000.0])
def test_noise_of_ten_percent_is_the_same_load(rate: float) -> None:
    assert Context.of(Workload(rate)).same_load(Context.of(Workload(rate * 1.1)))
    assert Context.of(Workload(rate)).same_load(Context.of(Workload(rate * 0.9)))


def test_twice_the_rate_is_another_load() -> None:
    assert not Context.of(Workload(100.0)).same_load(Context.of(Workload(200.0)))


def test_bursts_make_another_load_and_noise_of_the_cv_does_not() -> None:
    smooth = Context.of(Workload(100.0, cv=1.0))
    assert not smooth.same_load(Context.of(Workload(100.0, cv=4.0)))
    assert smooth.same_load(Context.of(Workload(100.0, cv=1.2)))


def test_more_examples_a_request_make_another_load() -> None:
    assert not Context.of(Workload(100.0)).same_load(Context.of(Workload(100.0, examples_per_request=8.0)))


def test_an_idle_and_perfectly_regular_load_has_a_finite_context() -> None:
    assert all(math.isfinite(v) for v in Context.of(Workload(0.0, cv=0.0, examples_per_request=0.0)).vector)


def test_harder_means_no_component_below() -> None:
    base = Context.of(Workload(100.0, cv=1.0))
    assert Context.of(Workload(200.0, cv=1.0)).harder_than(base)
    assert not base.harder_than(Context.of(Workload(200.0, cv=1.0)))
    assert not Context.of(Workload(200.0, cv=0.5)).harder_than(base)


@given(rates, rates)
def test_distance_is_symmetric_and_zero_to_itself(a: float, b: float) -> None:
    first, second = Context.of(Workload(a)), Context.of(Workload(b))
    assert first.distance(second) == second.distance(first) >= 0
    assert first.distance(first) == 0


def test_blending_moves_towards_the_other() -> None:
    blended = Context.of(Workload(100.0)).blend(Context.of(Workload(400.0)), 0.5)
    assert math.exp(blended.log_rate) == pytest.approx(200.0)
