"""What a start counts against the error budget is just what was measured, however little of it is still held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import numpy as np
import pytest

from service.control.error_budget import ErrorBudget
from service.control.recall import Recall
from service.control.settings import LoopSettings
from service.control.workers import Workers
from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.domain.window import Window
from service.store import Store
from tests.support.fake_clock import EPOCH, FakeClock
from tests.support.history import CONFIG, WORKLOAD, a_window

SLO = Slo(0.05)
HOUR = 3600.0
PERIOD = 2 * 24 * HOUR

#: A full hour, more than the period after the clock's beginning.
NOW = (EPOCH + PERIOD * 1.5) // HOUR * HOUR


def history() -> list[Window]:
    """Three windows an hour for longer than the period; none in the hour in which it begins, and so none in between."""
    rng = np.random.default_rng(5)
    made = []
    for number in range(int(PERIOD * 1.2 / HOUR * 3)):
        ended = NOW - 1200.0 * number - 300.0
        if not NOW - PERIOD - HOUR <= ended <= NOW - PERIOD:
            counts = tuple(int(count) for count in rng.integers(0, 500, size=4))
            latency = Histogram((0.02, 0.04, 0.08), counts)
            lost = int(rng.integers(0, 5))
            window = replace(
                a_window(),
                started_at=ended - 60.0,
                duration_seconds=60.0,
                latency=latency,
                succeeded=latency.count,
                rejected=lost,
                failed=0,
            )
            made.append(window)
    return made[::-1]


def requests(window: Window) -> int:
    return window.succeeded + window.rejected + window.failed


@pytest.fixture(scope="module")
def past() -> list[Window]:
    return history()


@pytest.fixture
def clock() -> FakeClock:
    made = FakeClock()
    made._now = NOW - EPOCH
    return made


@pytest.fixture
def store(clock: FakeClock, past: list[Window]) -> Iterator[Store]:
    opened = Store.open("sqlite://", clock=clock)
    for window in past:
        opened.add_observation("m", WORKLOAD, CONFIG, window)
    yield opened
    opened.close()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers()
    yield made
    await made.close()


@pytest.mark.parametrize("held", [1000, 60, 1])
async def test_the_whole_period_counts_however_little_is_held(store, clock, workers, past, held):
    while store.prune("m", keep_observations=held, keep_holds=1):
        pass
    settings = LoopSettings(error_budget_period_seconds=PERIOD)
    state = (await Recall("m", store, settings, clock, workers).budget(SLO)).state(SLO, clock.monotonic())
    within = [window for window in past if window.started_at > NOW - PERIOD]
    total = sum(map(requests, within))
    broke = sum(requests(window) * window.violation_ratio(SLO) for window in within)
    assert state.remaining_ratio == pytest.approx(1 - broke / total / (1 - SLO.target_ratio), rel=1e-9)
    assert state.known_seconds == PERIOD


@pytest.mark.parametrize(("page", "windows"), [(250, 5000), (7, 5000), (7, 14)])
async def test_it_burns_as_it_did_before_the_restart(store, clock, workers, past, page, windows, monkeypatch):
    monkeypatch.setattr("service.control.recall.PAGE", page)
    monkeypatch.setattr("service.control.recall.WINDOWS", windows)
    live = ErrorBudget(PERIOD)
    for window in past:
        ended = window.started_at + window.duration_seconds - EPOCH
        live.add(ended, window.duration_seconds, requests(window), window.violation_ratio(SLO))
    settings = LoopSettings(error_budget_period_seconds=PERIOD)
    state = (await Recall("m", store, settings, clock, workers).budget(SLO)).state(SLO, clock.monotonic())
    expected = live.state(SLO, clock.monotonic())
    assert state.remaining_ratio == pytest.approx(expected.remaining_ratio, rel=1e-9)
    if windows == 5000:
        assert state.rates == pytest.approx(expected.rates, rel=1e-9)


async def test_what_is_kept_in_memory_is_bounded_by_hours_and_not_by_windows(store, clock, workers, past, monkeypatch):
    monkeypatch.setattr("service.control.recall.PAGE", 7)
    settings = LoopSettings(error_budget_period_seconds=PERIOD, burn_window_scale=0.2)
    counted, _ = await Recall("m", store, settings, clock, workers)._past(SLO, None)
    # Of the last two hours each window, of all others the hour.
    assert len(past) > 150
    assert len(counted) <= PERIOD / HOUR + 1 + 3 * 3
    assert len({one.ended_at for one in counted}) == len(counted)
