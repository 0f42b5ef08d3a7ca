"""Holding a canary against those beside it: what is worse is found, what is as good is not blamed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.control.canary import Beside, Outcome, compare
from service.control.settings import LoopSettings
from service.domain.histogram import Histogram, exponential_bounds
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.telemetry.reading import Reading
from tests.support.manual_clock import ManualClock

BOUNDS = exponential_bounds(1e-3, 1.1, 90)
SLO = Slo(0.05, 0.99, 0.99)
SETTINGS = LoopSettings()
OVERDUE = SETTINGS.canary_seconds


def window(median: float, requests: int, *, lost: int = 0, seed: int = 0) -> Window:
    """Latencies with a tail of twice their median."""
    rng = np.random.default_rng(seed)
    values = median * np.exp(0.3 * rng.standard_normal(requests))
    return Window(
        started_at=0.0,
        duration_seconds=10.0,
        latency=Histogram.of(values.tolist(), BOUNDS),
        workload=Workload(rate_per_second=requests / 10, cv=1.0, examples_per_request=1.0),
        succeeded=requests,
        rejected=lost,
    )


def outcome(canary: Window, control: Window, elapsed: float, others: int = 1) -> Outcome:
    return compare((canary, control), others, elapsed, SLO, SETTINGS).outcome


def test_what_breaks_the_objective_is_found_within_seconds() -> None:
    assert outcome(window(0.2, 40), window(0.01, 40), 1.0) is Outcome.WITHDRAW


def test_what_refuses_requests_is_found_though_the_others_are_answered_fast() -> None:
    assert outcome(window(0.01, 60, lost=40), window(0.01, 100), 1.0) is Outcome.WITHDRAW


@pytest.mark.parametrize("others", [1, 3])
def test_what_hangs_is_found_by_the_answers_that_it_does_not_give(others: int) -> None:
    control = window(0.01, 50 * others)
    assert outcome(window(0.01, 20), control, 1.0, others) is Outcome.WITHDRAW
    assert outcome(window(0.01, 45), control, 1.0, others) is Outcome.WAIT


def test_what_is_slower_is_found_though_it_meets_the_objective() -> None:
    assert outcome(window(0.015, 1000), window(0.01, 1000), 10.0) is Outcome.WITHDRAW


def test_where_both_break_the_objective_what_is_better_is_followed_early() -> None:
    assert outcome(window(0.1, 500), window(0.4, 500), 6.0) is Outcome.FOLLOW


def test_a_few_losses_among_few_requests_are_no_proof() -> None:
    assert outcome(window(0.01, 29, lost=1), window(0.01, 30), 3.0) is Outcome.WAIT


def test_what_nobody_asked_is_given_up_when_the_time_is_over() -> None:
    nothing = window(0.01, 0), window(0.01, 0)
    assert compare(nothing, 1, OVERDUE - 1, SLO, SETTINGS).outcome is Outcome.WAIT
    assert compare(nothing, 1, OVERDUE, SLO, SETTINGS).outcome is Outcome.GIVE_UP
    assert compare(None, 1, OVERDUE, SLO, SETTINGS).outcome is Outcome.GIVE_UP


@given(
    median=st.floats(0.002, 1.0),
    requests=st.integers(1, 3000),
    lost=st.integers(0, 300),
    elapsed=st.floats(0, 60),
    others=st.integers(1, 8),
)
def test_what_does_exactly_the_same_is_never_blamed_and_is_decided_on_in_time(
    median: float, requests: int, lost: int, elapsed: float, others: int
) -> None:
    one = window(median, requests, lost=lost)
    found = compare((one, one), 1, elapsed, SLO, SETTINGS)
    assert found.outcome in (Outcome.WAIT, Outcome.FOLLOW)
    assert found.outcome is Outcome.FOLLOW or elapsed < OVERDUE
    assert found.explanation


@given(median=st.floats(0.002, 0.02), worse=st.floats(6.0, 30.0), requests=st.integers(300, 3000))
def test_what_is_many_times_slower_is_always_withdrawn_and_the_other_way_round_never(
    median: float, worse: float, requests: int
) -> None:
    fast, slow = window(median, requests), window(median * worse, requests)
    assert outcome(slow, fast, 6.0) is Outcome.WITHDRAW
    assert outcome(fast, slow, 6.0) is Outcome.FOLLOW


def test_asked_again_and_again_it_blames_what_is_the_same_hardly_ever() -> None:
    rng = np.random.default_rng(7)
    blamed = 0
    for _ in range(200):
        ours, theirs = (0.024 * np.exp(0.3 * rng.standard_normal(1500)) for _ in range(2))
        for step in range(1, 11):
            count = step * 150
            pair = [
                Window(
                    started_at=0.0,
                    duration_seconds=3.0 * step,
                    latency=Histogram.of(values[:count].tolist(), BOUNDS),
                    workload=Workload(rate_per_second=50.0, cv=1.0, examples_per_request=1.0),
                    succeeded=count,
                )
                for values in (ours, theirs)
            ]
            if outcome(pair[0], pair[1], 3.0 * step) is Outcome.WITHDRAW:
                blamed += 1
                break
    assert blamed <= 4  # 2 % of the trials


def test_what_is_gathered_is_each_ones_part_since_the_trial_began() -> None:
    clock = ManualClock()
    beside = Beside(SETTINGS, clock)
    assert beside.seen() is None

    def reading(canary: int, control: int) -> Reading:
        parts = {}
        for role, count in (("canary", canary), ("control", control)):
            parts[role] = Reading(
                monotonic=clock.monotonic(),
                time=clock.time(),
                model="m",
                latency=Histogram.of([0.01] * count, BOUNDS),
                requests={"OK": count},
            )
        return Reading(monotonic=clock.monotonic(), time=clock.time(), model="m", by_role=parts)

    for canary, control in ((500, 900), (510, 930), (530, 990)):
        clock.advance(SETTINGS.blanking_seconds)
        beside.add(reading(canary, control))
    seen = beside.seen()
    assert seen is not None
    assert [one.succeeded for one in seen] == [30, 90]
    assert math.isclose(seen[0].latency.count, 30)
