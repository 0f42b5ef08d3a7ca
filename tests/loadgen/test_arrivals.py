from __future__ import annotations

import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.arrivals import ArrivalProcess, Gamma, Mmpp, Poisson, Regular, ScheduledArrivals
from service.loadgen.schedules import constant, steps

PROCESSES = [Poisson(), Gamma(1.0), Gamma(4.0), Gamma(0.3), Mmpp(), Regular()]


def gaps(process: ArrivalProcess, rate: float, duration: float, seed: int = 1) -> np.ndarray:
    return np.diff(process.times(constant(rate, duration), np.random.default_rng(seed)))


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_times_ascend_inside_the_run_and_repeat_with_the_seed(process: ArrivalProcess) -> None:
    schedule = steps([(5, 50), (5, 200)])
    times = process.times(schedule, np.random.default_rng(5))
    assert np.all(np.diff(times) >= 0)
    assert times[0] >= 0
    assert times[-1] < 10
    assert np.array_equal(times, process.times(schedule, np.random.default_rng(5)))
    assert len(times) != len(process.times(schedule, np.random.default_rng(6))) or not np.array_equal(
        times, process.times(schedule, np.random.default_rng(6))
    )


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_the_mean_rate_is_the_schedules(process: ArrivalProcess) -> None:
    # Sixteen independent runs; the tolerance is several standard errors of the burstiest process.
    counts = [len(process.times(constant(100, 200), np.random.default_rng(seed))) for seed in range(16)]
    assert np.mean(counts) / 200 == pytest.approx(100, rel=0.04)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0, 4.0])
def test_gamma_gaps_have_the_coefficient_of_variation_asked_for(cv: float) -> None:
    sample = gaps(Gamma(cv), rate=500, duration=400)
    assert sample.std() / sample.mean() == pytest.approx(cv, rel=0.05)


def test_poisson_gaps_are_exponential() -> None:
    sample = gaps(Poisson(), rate=500, duration=400)
    assert sample.std() / sample.mean() == pytest.approx(1, rel=0.02)
    assert np.mean(sample > sample.mean()) == pytest.approx(np.exp(-1), rel=0.02)


def test_bursty_renewals_do_not_start_with_a_bunch() -> None:
    # Started at an event instead of in equilibrium, CV 8 would send (CV² - 1)/2 = 31 requests too many in each run.
    counts = [len(Gamma(8.0).times(constant(10, 10), np.random.default_rng(seed))) for seed in range(400)]
    assert np.mean(counts) == pytest.approx(100, abs=20)


def test_mmpp_sends_at_two_rates_whose_mean_is_the_schedules() -> None:
    process = Mmpp(ratio=9, burst=10, quiet=10)
    quiet, burst = process.factors()
    assert (quiet, burst) == pytest.approx((0.2, 1.8))
    times = process.times(constant(100, 2000), np.random.default_rng(2))
    seconds = np.histogram(times, bins=2000, range=(0, 2000))[0]
    # Seconds are either quiet (20 requests) or bursts (180); hardly any lie between.
    assert np.mean((seconds > 60) & (seconds < 120)) < 0.1
    assert np.mean(seconds < 60) > 0.25
    assert np.mean(seconds > 120) > 0.25


def test_a_process_keeps_its_kind_while_its_rate_follows_the_schedule() -> None:
    times = Gamma(3.0).times(steps([(300, 50), (300, 400)]), np.random.default_rng(4))
    slow, fast = times[times < 300], times[times >= 300]
    assert len(slow) / 300 == pytest.approx(50, rel=0.1)
    assert len(fast) / 300 == pytest.approx(400, rel=0.1)
    for part in (slow, fast):
        assert np.diff(part).std() / np.diff(part).mean() == pytest.approx(3, rel=0.1)


def test_regular_arrivals_are_evenly_spaced() -> None:
    assert gaps(Regular(), rate=10, duration=5) == pytest.approx(np.full(49, 0.1))


@pytest.mark.parametrize(
    "make", [lambda: Gamma(0), lambda: Gamma(float("nan")), lambda: Mmpp(ratio=0.5), lambda: Mmpp(burst=0)]
)
def test_an_impossible_process_is_refused(make: object) -> None:
    with pytest.raises(InvalidValueError):
        make()  # type: ignore[operator]


def test_a_run_that_would_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="too many"):
        ScheduledArrivals(Poisson(), constant(1e6, 1e6))
