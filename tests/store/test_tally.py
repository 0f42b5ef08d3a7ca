"""An hour's tally says of any objective just what its windows say together, and outlives them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import StoreError
from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.domain.window import Window
from service.store import Store
from service.store.schema import TALLIES
from service.store.tally import MAX_LAYOUTS, Tally, hour_of
from tests.support.history import CONFIG, WORKLOAD, a_window

LAYOUTS = ((0.01, 0.02, 0.05, 0.1), (0.015, 0.06), ())

counts = st.integers(0, 1000)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    bounds = draw(st.sampled_from(LAYOUTS))
    latency = Histogram(bounds, tuple(draw(counts) for _ in range(len(bounds) + 1)))
    began, seconds = 1_700_000_000.0 + draw(st.integers(0, 2000)), draw(st.sampled_from([2.0, 5.0, 60.0]))
    return replace(
        a_window(),
        started_at=began,
        duration_seconds=seconds,
        latency=latency,
        succeeded=latency.count,
        rejected=draw(counts),
        failed=draw(counts),
    )


def requests(window: Window) -> int:
    return window.succeeded + window.rejected + window.failed


@settings(max_examples=60, deadline=None)
@given(some=st.lists(windows(), min_size=1, max_size=20), bound=st.sampled_from([0.005, 0.02, 0.03, 0.07, 0.2]))
def test_it_is_the_sum_of_its_windows(some: list[Window], bound: float) -> None:
    slo = Slo(bound)
    tally = reduce(Tally.plus, map(Tally.of, some))
    assert tally.windows == len(some)
    assert tally.requests == sum(map(requests, some))
    broke = sum(requests(window) * window.violation_ratio(slo) for window in some)
    assert tally.requests * tally.violation_ratio(slo) == pytest.approx(broke, rel=1e-9, abs=1e-6)
    assert tally.began_at == min(window.started_at for window in some)
    assert tally.ended_at == max(window.started_at + window.duration_seconds for window in some)


def test_a_server_that_shows_other_buckets_each_time_does_not_make_it_grow() -> None:
    tally = Tally.of(a_window())
    for number in range(100):
        latency = Histogram((0.01 + number,), (1, 1))
        tally = tally.plus(Tally.of(replace(a_window(), latency=latency, succeeded=2)))
    assert len(tally.latency) == MAX_LAYOUTS
    assert tally.windows == 101


@pytest.mark.parametrize("moment", [1e300, -1e300])
def test_a_time_out_of_all_bounds_has_an_hour_that_a_database_can_hold(moment: float) -> None:
    assert abs(hour_of(moment)) < 2**63


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open("sqlite://")
    yield opened
    opened.close()


def hourly(number: int) -> Window:
    return replace(a_window(number), started_at=1_700_000_000.0 + 1200 * number)


def fill(store: Store, count: int) -> None:
    for number in range(count):
        store.add_observation("m", WORKLOAD, CONFIG, hourly(number))


def test_it_stays_when_the_windows_go(store: Store) -> None:
    fill(store, 9)
    before = store.tallies("m", since=0.0)
    assert [tally.windows for tally in before] == [3, 3, 3]
    while store.prune("m", keep_observations=1, keep_holds=1):
        pass
    assert len(store.observations("m")) == 1
    assert store.tallies("m", since=0.0) == before
    assert store.tallies("m", since=before[1].began_at) == before[1:]
    assert store.seen("m") == (9, 1_700_000_000.0)
    assert store.tallies("other", since=0.0) == []
    assert store.seen("other") == (0, None)


def test_the_oldest_go_when_there_are_very_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.tallies.KEPT", 2)
    fill(store, 12)
    store.add_observation("other", WORKLOAD, CONFIG, hourly(0))
    hours = [tally.hour for tally in store.tallies("m", since=0.0)]
    assert store.prune("m", keep_observations=100, keep_holds=1) == len(hours) - 2
    assert [tally.hour for tally in store.tallies("m", since=0.0)] == hours[-2:]
    assert len(store.tallies("other", since=0.0)) == 1


def test_an_import_counts_what_it_takes_in_and_nothing_twice(store: Store) -> None:
    fill(store, 7)
    exported = "".join(store.export()).encode()
    other = Store.open("sqlite://")
    for _ in range(2):
        other.take_in(io.BytesIO(exported))
        assert other.tallies("m", since=0.0) == store.tallies("m", since=0.0)
    other.close()


def test_a_window_that_could_not_be_written_is_not_counted(store: Store) -> None:
    fill(store, 1)
    with store._database.transaction() as connection:
        connection.execute(TALLIES.update().values(latency='{"histograms":[{}]}'))
    with pytest.raises(StoreError, match=r"the tally of hour 472222 of model 'm' in .* is damaged"):
        store.add_observation("m", WORKLOAD, CONFIG, hourly(0))
    assert len(store.observations("m")) == 1
