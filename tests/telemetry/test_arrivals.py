from __future__ import annotations

import numpy as np
import pytest

from service.telemetry.arrivals import DEFAULT_CV, coefficient_of_variation
from service.telemetry.reading import Interarrivals, Reading
from tests.support.served_load import gamma_arrivals, readings_of


def readings(cv: float, *, seconds: float, rate: float, every: float, told: bool, seed: int) -> list[Reading]:
    times = gamma_arrivals(np.random.default_rng(seed), seconds, rate, cv)
    return readings_of(times, times + 1e-3, every=every, until=seconds, with_interarrivals=told)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0, 3.0])
def test_the_servers_own_moments_give_the_variation(cv: float) -> None:
    found = coefficient_of_variation(readings(cv, seconds=30, rate=200, every=0.5, told=True, seed=1))
    assert found == pytest.approx(cv, rel=0.1)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0, 3.0])
def test_counts_alone_give_the_variation(cv: float) -> None:
    found = [
        coefficient_of_variation(readings(cv, seconds=30, rate=200, every=0.5, told=False, seed=seed))
        for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(cv, rel=0.15)


def test_missed_readings_do_not_look_like_bursts() -> None:
    every = readings(1.0, seconds=60, rate=200, every=0.5, told=False, seed=2)
    some = [reading for number, reading in enumerate(every) if number % 7 not in (2, 3)]
    assert coefficient_of_variation(some) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("told", [True, False])
def test_too_little_says_poisson(told: bool) -> None:
    few_requests = readings(3.0, seconds=10, rate=1, every=0.5, told=told, seed=3)
    few_intervals = readings(3.0, seconds=2, rate=6, every=0.5, told=told, seed=3)
    assert coefficient_of_variation(few_requests) == DEFAULT_CV
    assert coefficient_of_variation(few_intervals) == DEFAULT_CV


def test_simultaneous_arrivals_say_poisson_rather_than_dividing_by_nothing() -> None:
    first = Reading(monotonic=0.0, time=0.0, model="m", interarrivals=Interarrivals(10, 1.0, 1.0))
    last = Reading(monotonic=1.0, time=1.0, model="m", interarrivals=Interarrivals(100, 1.0, 1.0))
    assert coefficient_of_variation([first, last]) == DEFAULT_CV
