from __future__ import annotations

from dataclasses import replace

import pytest

from service.domain.histogram import Histogram
from service.telemetry.reading import HISTOGRAMS, Interarrivals, Reading, difference

LATER = Reading(
    monotonic=2.0,
    time=2.0,
    model="m",
    latency=Histogram((1.0, 2.0), (3, 2, 1), 8.0),
    requests={"OK": 6, "UNAVAILABLE": 1},
    foreign_requests=4,
    batch_size=Histogram((1.0,), (2, 1), 4.0),
    queueing=Histogram((1.0,), (2, 1), 4.0),
    request_examples=Histogram((1.0,), (2, 1), 4.0),
    session_inputs=Histogram((1.0,), (2, 1), 4.0),
    interarrivals=Interarrivals(6, 3.0, 2.0),
    generation=3,
    process_started_at=100.0,
)
EARLIER = replace(LATER, monotonic=1.0, requests={"OK": 5}, interarrivals=Interarrivals(4, 2.0, 1.0))


def test_growing_counters_are_of_one_piece() -> None:
    assert LATER.discontinuity(EARLIER) is None


def test_what_did_not_exist_before_is_no_discontinuity() -> None:
    nothing_yet = Reading(monotonic=1.0, time=1.0, model="m", generation=3, process_started_at=100.0)
    assert LATER.discontinuity(nothing_yet) is None


@pytest.mark.parametrize(
    ("earlier", "reason"),
    [
        (replace(EARLIER, process_started_at=99.0), "process was restarted"),
        (replace(EARLIER, requests={"OK": 7}), "count of OK requests went down"),
        (replace(EARLIER, requests={"OK": 5, "INTERNAL": 1}), "count of INTERNAL requests went down"),
        (replace(EARLIER, foreign_requests=5), "other models went down"),
        (replace(EARLIER, interarrivals=Interarrivals(7, 3.0, 2.0)), "arrivals went down"),
        (replace(EARLIER, latency=Histogram((1.0, 2.0), (3, 3, 0), 8.0)), "latency histogram went down"),
        (replace(EARLIER, latency=Histogram((1.0, 3.0), (3, 2, 1), 8.0)), "changed its buckets"),
        (replace(EARLIER, generation=2), "from generation 2 to 3"),
    ],
)
def test_another_process_or_configuration_is_a_discontinuity(earlier: Reading, reason: str) -> None:
    told = LATER.discontinuity(earlier)
    assert told is not None
    assert reason in told


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_a_histogram_that_vanished_is_a_discontinuity(name: str) -> None:
    told = replace(LATER, **{name: None}).discontinuity(EARLIER)
    assert told is not None
    assert name in told


def test_arrivals_that_vanished_are_a_discontinuity() -> None:
    assert replace(LATER, interarrivals=None).discontinuity(EARLIER) is not None


def test_a_difference_starts_from_nothing_where_there_was_nothing() -> None:
    assert difference(LATER.latency, None) == LATER.latency
    assert difference(None, None) is None


def test_a_sum_that_was_rounded_is_drawn_into_what_its_buckets_allow() -> None:
    """TensorFlow Serving prints six digits: 1.00000e+13 stays what it was while seconds are added."""
    earlier = Histogram((1.0, 2.0, 4.0), (10, 10, 10, 0), 1e13)
    unchanged = difference(Histogram((1.0, 2.0, 4.0), (10, 14, 10, 0), 1e13), earlier)
    assert unchanged is not None
    assert unchanged.mean == 1.0
    jumped = difference(Histogram((1.0, 2.0, 4.0), (10, 14, 10, 0), 1e13 + 1e8), earlier)
    assert jumped is not None
    assert jumped.mean == 2.0


def test_a_sum_with_values_above_the_last_edge_is_bounded_from_below_only() -> None:
    gained = difference(Histogram((1.0,), (0, 3), 300.0), Histogram((1.0,), (0, 1), 100.0))
    assert gained is not None
    assert gained.total == 200.0
