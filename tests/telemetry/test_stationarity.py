"""Simulated on seeded generators: the same numbers each time. A stretch is 10 s, read twice a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from service.domain.histogram import exponential_bounds
from service.telemetry.reading import Reading
from service.telemetry.stationarity import Stationarity, Trend, assess
from tests.support.served_load import FINE_BOUNDS, gamma_arrivals, poisson_arrivals, queue_departures, readings_of

SECONDS = 10.0
#: The queue is in its steady state before the stretch begins.
BEFORE = 20.0
TENSORFLOW_SERVING_BOUNDS = exponential_bounds(10e-6, 1.8, 33)

Scenario = Callable[[np.random.Generator], list[Reading]]


def share(scenario: Scenario, wanted: Callable[[Stationarity], bool], runs: int) -> float:
    return sum(wanted(assess(scenario(np.random.default_rng(seed)))) for seed in range(runs)) / runs


def moved(found: Stationarity) -> bool:
    return not found.steady


def served(
    steps: Sequence[tuple[float, float]],
    utilisation: float,
    *,
    every: float = 0.5,
    told: bool = True,
    bounds: tuple[float, ...] = FINE_BOUNDS,
    stall: float = 0.0,
    slower: float = 1.0,
) -> Scenario:
    """Poisson arrivals at a first-come server with lognormal service.

    Args:
        steps: (seconds, rate) of the stretch; the first rate also holds before it.
        utilisation: At the first rate.
        every: Seconds between readings.
        told: Whether the server tells the times between arrivals.
        bounds: Of the latency histogram.
        stall: Seconds the server stood still just before the stretch.
        slower: By what service is slower in the stretch's second half.
    """

    def scenario(rng: np.random.Generator) -> list[Reading]:
        arrivals = poisson_arrivals(rng, [(BEFORE, steps[0][1]), *steps])
        service = rng.lognormal(-0.02, 0.2, len(arrivals)) * utilisation / steps[0][1]
        if stall:
            service[np.searchsorted(arrivals, BEFORE - stall)] += stall
        service[arrivals > BEFORE + SECONDS / 2] *= slower
        departures = queue_departures(arrivals, service)
        return readings_of(
            arrivals,
            departures,
            every=every,
            begin=BEFORE,
            until=BEFORE + SECONDS,
            bounds=bounds,
            with_interarrivals=told,
        )

    return scenario


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(served([(SECONDS, 200)], 0.3), id="light"),
        pytest.param(served([(SECONDS, 200)], 0.75), id="busy"),
        pytest.param(served([(SECONDS, 200)], 0.75, told=False), id="busy, arrivals not told"),
        pytest.param(served([(SECONDS, 500)], 0.7, bounds=TENSORFLOW_SERVING_BOUNDS), id="coarse buckets"),
        pytest.param(served([(SECONDS, 200)], 0.7, every=2.0), id="read seldom"),
        pytest.param(served([(SECONDS, 30)], 0.3), id="few requests"),
    ],
)
def test_chance_is_hardly_ever_called_a_change(scenario: Scenario) -> None:
    assert share(scenario, moved, runs=150) <= 0.02


def test_bursts_are_hardly_ever_called_a_change() -> None:
    def scenario(rng: np.random.Generator) -> list[Reading]:
        arrivals = gamma_arrivals(rng, BEFORE + SECONDS, 200, cv=3.0)
        departures = queue_departures(arrivals, np.full(len(arrivals), 0.5 / 200))
        return readings_of(arrivals, departures, every=0.5, begin=BEFORE, until=BEFORE + SECONDS)

    assert share(scenario, moved, runs=150) <= 0.03


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("at", [2.0, 5.0, 8.0])
def test_a_load_step_is_found_wherever_it_lies(at: float, told: bool) -> None:
    scenario = served([(at, 300), (SECONDS - at, 500)], 0.5, told=told)
    assert share(scenario, lambda found: found.rate is Trend.RISING, runs=50) >= 0.95


def test_a_load_that_falls_is_found() -> None:
    scenario = served([(6.0, 300), (4.0, 180)], 0.5)
    assert share(scenario, lambda found: found.rate is Trend.FALLING, runs=50) >= 0.95


@pytest.mark.parametrize("stall", [1.0, 3.0])
def test_a_backlog_that_still_drains_is_found(stall: float) -> None:
    scenario = served([(SECONDS, 200)], 0.7, stall=stall)
    assert share(scenario, lambda found: found.latency is Trend.FALLING, runs=50) >= 0.95


def test_an_overload_that_builds_up_is_found_under_a_steady_rate() -> None:
    scenario = served([(SECONDS, 200)], 1.2)
    found = Stationarity(Trend.STEADY, Trend.RISING)
    assert share(scenario, lambda seen: seen == found, runs=50) >= 0.95


def test_service_that_became_slower_is_found() -> None:
    scenario = served([(SECONDS, 200)], 0.4, slower=2.0)
    assert share(scenario, lambda found: found.latency is Trend.RISING, runs=50) >= 0.95


def test_a_change_too_small_to_matter_is_let_pass_however_certain() -> None:
    scenario = served([(5.0, 5000), (5.0, 5500)], 0.3)
    assert share(scenario, moved, runs=20) == 0.0


def test_a_lone_reading_or_no_traffic_is_steady() -> None:
    idle = [Reading(monotonic=0.5 * k, time=0.0, model="m") for k in range(20)]
    assert assess(idle).steady
    assert assess(idle[:1]).steady
    assert assess([]).steady


def test_the_first_request_ever_within_the_stretch_is_no_error() -> None:
    arrivals = poisson_arrivals(np.random.default_rng(1), [(5.0, 0.0), (5.0, 200.0)])
    found = assess(readings_of(arrivals, arrivals + 0.01, every=0.5, until=10.0, with_interarrivals=False))
    assert found.rate is Trend.RISING
