from __future__ import annotations

import json
from dataclasses import replace

import pytest

from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram, exponential_bounds
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window, WindowQuality
from service.domain.workload import Workload

FINE = exponential_bounds(1e-3, 1.1, 80)
EMPTY = Window(started_at=100.0, duration_seconds=10.0, latency=Histogram.empty(FINE), workload=Workload(0.0))


def window(*, fast: int, slow: int = 0, rejected: int = 0, failed: int = 0) -> Window:
    """Fast requests take 10 ms, slow ones 500 ms."""
    return replace(
        EMPTY,
        latency=Histogram.of([0.010] * fast + [0.500] * slow, FINE),
        workload=Workload(50.0),
        succeeded=fast + slow,
        rejected=rejected,
        failed=failed,
    )


def test_throughput_counts_what_succeeded() -> None:
    assert window(fast=90, slow=10, rejected=5).throughput_per_second == 10.0
    assert replace(EMPTY, duration_seconds=0.0).throughput_per_second == 0.0


def test_loss_is_what_was_refused_or_failed() -> None:
    assert window(fast=90, rejected=6, failed=4).loss_ratio == 0.1
    assert EMPTY.loss_ratio == 0.0


def test_only_a_good_window_is_usable() -> None:
    assert [quality for quality in WindowQuality if replace(EMPTY, quality=quality).usable] == [WindowQuality.GOOD]


@pytest.mark.parametrize(
    ("bound", "verdict"), [(0.1, SloVerdict.MET), (0.005, SloVerdict.VIOLATED), (0.0101, SloVerdict.UNCERTAIN)]
)
def test_a_verdict_needs_the_whole_interval_on_one_side(bound: float, verdict: SloVerdict) -> None:
    assert window(fast=1000).verdict(Slo(bound)) is verdict


def test_a_few_slow_requests_leave_it_open_and_many_do_not() -> None:
    slo = Slo(0.1)
    assert window(fast=1000, slow=1).verdict(slo) is SloVerdict.MET
    assert window(fast=990, slow=10).verdict(slo) is SloVerdict.UNCERTAIN
    assert window(fast=970, slow=30).verdict(slo) is SloVerdict.VIOLATED


def test_more_requests_lost_than_the_objective_allows_violate_it_however_fast_the_rest() -> None:
    assert window(fast=980, rejected=20).verdict(Slo(0.1, target_ratio=0.99)) is SloVerdict.VIOLATED
    assert window(fast=980, rejected=20).verdict(Slo(0.1, target_ratio=0.9)) is SloVerdict.MET


def test_only_lost_requests_are_a_violation_and_none_at_all_are_uncertain() -> None:
    assert window(fast=0, failed=5).verdict(Slo(0.1)) is SloVerdict.VIOLATED
    assert EMPTY.verdict(Slo(0.1)) is SloVerdict.UNCERTAIN


def test_an_idle_window_has_no_tail() -> None:
    with pytest.raises(InvalidValueError, match="empty"):
        EMPTY.tail(Slo(0.1))


def test_slow_and_lost_requests_break_the_bound() -> None:
    slo = Slo(0.1)
    assert window(fast=90, slow=5, rejected=3, failed=2).violation_ratio(slo) == pytest.approx(0.1)
    assert window(fast=0, rejected=3).violation_ratio(slo) == 1.0
    assert EMPTY.violation_ratio(slo) == 0.0


@pytest.mark.parametrize(
    "wanted",
    [
        EMPTY,
        replace(window(fast=7, slow=2, rejected=1), quality=WindowQuality.TOO_SHORT),
        replace(
            window(fast=3),
            batch_size=Histogram.of([1, 4], (1.0, 2.0, 4.0)),
            queueing=Histogram.of([0.001], (0.01,)),
            workload=Workload(1.5, 2.5, 3.5),
        ),
    ],
)
def test_a_window_survives_json(wanted: Window) -> None:
    assert Window.from_dict(json.loads(json.dumps(wanted.to_dict(), allow_nan=False))) == wanted
