from __future__ import annotations

import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.schedules import Schedule, constant, diurnal, rrl_steps, spike, steps


def test_steps_hold_each_rate_for_its_time() -> None:
    schedule = steps([(10, 100), (20, 300), (5, 0)])
    assert schedule.duration == 35
    assert [schedule.rate_at(t) for t in (0, 9.99, 10, 29.99, 30, 34, 35, -1)] == [100, 100, 300, 300, 0, 0, 0, 0]
    assert schedule.expected_requests == 10 * 100 + 20 * 300
    assert [(p.name, p.start, p.end) for p in schedule.phases] == [("100/s", 0, 10), ("300/s", 10, 30), ("0/s", 30, 35)]


def test_inverting_the_cumulative_rate_skips_stretches_without_load() -> None:
    schedule = steps([(1, 2), (10, 0), (2, 4)])
    # Two requests in the first second; the third event falls due as soon as the load is back.
    assert schedule.invert(np.array([0.0, 1.0, 2.0, 6.0])).tolist() == [0.0, 0.5, 11.0, 12.0]


def test_rrls_own_steps_change_at_its_fractions_with_its_relative_rates() -> None:
    schedule = rrl_steps(peak_rate=100, duration=60)
    assert [p.start for p in schedule.phases] == pytest.approx([0, 16, 26, 40, 48])
    assert schedule.phases[-1].end == pytest.approx(60)
    assert schedule.rates == pytest.approx([100 * 6 / 7, 100, 100 * 6 / 7, 60, 50])


def test_a_day_swings_round_its_mean_and_never_falls_below_zero() -> None:
    schedule = diurnal(100, 50, np.random.default_rng(3), amplitude=1.0, noise=0.1)
    assert schedule.expected_requests / 50 == pytest.approx(100, rel=0.02)
    assert min(schedule.rates) >= 0
    assert schedule.rate_at(25) == pytest.approx(200, rel=0.4)
    assert schedule.rate_at(0) < 5
    assert schedule.phases[-1].end == 50


def test_a_spike_multiplies_the_base_rate_for_its_length() -> None:
    schedule = spike(50, 30, at=10, length=5, factor=4)
    assert [schedule.rate_at(t) for t in (9, 10, 14.9, 15)] == [50, 200, 200, 50]
    assert [p.name for p in schedule.phases] == ["before", "spike", "after"]


def test_modulation_multiplies_and_keeps_phases() -> None:
    schedule = steps([(2, 10), (2, 20)]).modulated([0.0, 1.0, 3.0], [1.0, 0.5, 2.0])
    assert [schedule.rate_at(t) for t in (0.5, 1.5, 2.5, 3.5)] == [10, 5, 10, 40]
    assert len(schedule.phases) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: constant(0, 10),
        lambda: constant(-1, 10),
        lambda: constant(float("nan"), 10),
        lambda: constant(5, 0),
        lambda: constant(5, float("inf")),
        lambda: steps([]),
        lambda: steps([(1, 5), (-1, 5)]),
        lambda: spike(5, 10, at=8, length=5, factor=2),
        lambda: diurnal(5, 10, np.random.default_rng(), amplitude=1.5),
        lambda: diurnal(5, 10, np.random.default_rng(), period=0),
        lambda: Schedule((0.0, 1.0), (1.0, 2.0), ()),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(make: object) -> None:
    with pytest.raises(InvalidValueError):
        make()  # type: ignore[operator]
