from __future__ import annotations

import pytest

from service.control.judge import Judgement, NotYet, clearly_worse, judge, same_load
from service.control.settings import LoopSettings
from service.domain.decision import Reason
from service.domain.histogram import Histogram, exponential_bounds
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window, WindowQuality
from service.domain.workload import Workload
from service.telemetry.stationarity import Stationarity, Trend

SLO = Slo(0.05)
SETTINGS = LoopSettings()
STEADY = Stationarity()
BOUNDS = exponential_bounds(1e-3, 1.02, 350)


def window(
    p99: float,
    *,
    count: int = 1000,
    seconds: float = 5.0,
    quality: WindowQuality = WindowQuality.GOOD,
    rejected: int = 0,
    rate: float = 100.0,
    examples: float = 1.0,
) -> Window:
    """Latencies spread evenly below and a little above ``p99``."""
    values = [p99 * (i + 1) / (0.99 * count) for i in range(count)]
    return Window(
        started_at=0.0,
        duration_seconds=seconds,
        latency=Histogram.of(values, BOUNDS),
        workload=Workload(rate, 1.0, examples),
        quality=quality,
        succeeded=count,
        rejected=rejected,
    )


def judged(a_window: Window | None, stationarity: Stationarity = STEADY, waited: float = 5.0) -> Judgement | NotYet:
    return judge(a_window, stationarity, SLO, SETTINGS, waited_seconds=waited)


@pytest.mark.parametrize(("p99", "verdict"), [(0.02, SloVerdict.MET), (0.2, SloVerdict.VIOLATED)])
def test_a_good_window_is_judged(p99, verdict):
    judgement = judged(window(p99))
    assert isinstance(judgement, Judgement)
    assert judgement.verdict is verdict
    assert judgement.met is (verdict is SloVerdict.MET)
    assert judgement.tail.value == pytest.approx(p99, rel=0.1)


@pytest.mark.parametrize(
    ("a_window", "reason"),
    [
        (None, Reason.WINDOW_NOT_READY),
        (window(0.02, count=1, quality=WindowQuality.NO_TRAFFIC), Reason.NO_TRAFFIC),
        (window(0.02, count=299, quality=WindowQuality.TOO_FEW_REQUESTS), Reason.WINDOW_NOT_READY),
        (window(0.02, seconds=4, quality=WindowQuality.TOO_SHORT), Reason.WINDOW_NOT_READY),
    ],
)
def test_a_window_that_is_not_ready_says_why(a_window, reason):
    not_yet = judged(a_window)
    assert isinstance(not_yet, NotYet)
    assert not_yet.reason is reason
    assert not not_yet.rebase
    assert not_yet.explanation


@pytest.mark.parametrize("latency", [Trend.STEADY, Trend.RISING])
def test_a_certain_violation_is_judged_early_and_becomes_usable(latency):
    judgement = judged(window(0.2, seconds=2.0, quality=WindowQuality.TOO_SHORT), Stationarity(latency=latency))
    assert isinstance(judgement, Judgement)
    assert judgement.window.usable


def test_not_so_early_that_a_backlog_could_not_be_told():
    assert isinstance(judged(window(0.2, seconds=1.5, quality=WindowQuality.TOO_SHORT)), NotYet)


def test_a_backlog_that_drains_is_waited_for():
    falling = Stationarity(latency=Trend.FALLING)
    assert isinstance(judged(window(0.2, seconds=3.0, quality=WindowQuality.TOO_SHORT), falling), NotYet)
    later = judged(window(0.2, quality=WindowQuality.NOT_STATIONARY), falling)
    assert isinstance(later, NotYet)
    assert later.rebase


def test_a_load_that_moves_is_cut_off():
    not_yet = judged(window(0.2, quality=WindowQuality.NOT_STATIONARY), Stationarity(rate=Trend.RISING))
    assert isinstance(not_yet, NotYet)
    assert not_yet.reason is Reason.NOT_STATIONARY
    assert not_yet.rebase


def test_what_never_comes_to_rest_is_judged_in_the_end():
    moving = Stationarity(rate=Trend.RISING, latency=Trend.FALLING)
    assert isinstance(judged(window(0.2, quality=WindowQuality.NOT_STATIONARY), moving, waited=15.0), Judgement)


def test_a_tail_at_the_bound_is_waited_for_and_then_the_estimate_counts():
    near = window(0.0495)
    assert near.verdict(SLO) is SloVerdict.UNCERTAIN
    not_yet = judged(near)
    assert isinstance(not_yet, NotYet)
    assert "too near" in not_yet.explanation
    judgement = judged(near, waited=15.0)
    assert isinstance(judgement, Judgement)
    assert judgement.verdict is SloVerdict.UNCERTAIN
    assert judgement.met
    over = judged(window(0.0505), waited=15.0)
    assert isinstance(over, Judgement)
    assert not over.met


def test_requests_that_are_lost_violate_whatever_the_latency():
    judgement = judged(window(0.01, count=900, rejected=100))
    assert isinstance(judgement, Judgement)
    assert judgement.verdict is SloVerdict.VIOLATED
    assert "10.0% of requests lost" in judgement.describe(SLO)


def test_a_window_in_which_nothing_succeeds_is_a_violation():
    lost = window(0.01, count=1, rejected=0)
    nothing = Window(
        started_at=0.0,
        duration_seconds=5.0,
        latency=Histogram.empty(BOUNDS),
        workload=lost.workload,
        rejected=500,
    )
    judgement = judged(nothing)
    assert isinstance(judgement, Judgement)
    assert (judgement.verdict, judgement.tail, judgement.met) == (SloVerdict.VIOLATED, None, False)
    assert "no request succeeded" in judgement.describe(SLO)


class TestSameLoad:
    def test_a_fifth_more_is_the_same(self):
        assert same_load(window(0.01, rate=100), window(0.01, rate=120), SETTINGS)

    def test_half_as_much_again_is_another(self):
        assert not same_load(window(0.01, rate=100), window(0.01, rate=150), SETTINGS)

    def test_what_chance_explains_is_the_same(self):
        few = window(0.01, rate=100, count=40), window(0.01, rate=150, count=40)
        assert same_load(*few, SETTINGS)

    def test_bigger_requests_are_another(self):
        assert not same_load(window(0.01, examples=1), window(0.01, examples=2), SETTINGS)

    def test_traffic_and_none_are_different_and_none_and_none_the_same(self):
        idle = window(0.01, rate=0)
        assert not same_load(idle, window(0.01), SETTINGS)
        assert same_load(idle, idle, SETTINGS)


class TestClearlyWorse:
    def test_disjoint_intervals(self):
        assert clearly_worse(window(0.02), window(0.03), SLO, SETTINGS)

    def test_not_when_they_touch(self):
        assert not clearly_worse(window(0.020, count=300), window(0.0202, count=300), SLO, SETTINGS)

    def test_not_when_the_difference_does_not_matter(self):
        assert not clearly_worse(window(0.020, count=50_000), window(0.0215, count=50_000), SLO, SETTINGS)

    def test_not_the_other_way_round(self):
        assert not clearly_worse(window(0.03), window(0.02), SLO, SETTINGS)

    def test_losing_requests_is_worse_than_any_latency(self):
        assert clearly_worse(window(0.04), window(0.01, rejected=100), SLO, SETTINGS)

    @pytest.mark.parametrize("refused", [100, 1000], ids=["a tenth", "half"])
    def test_not_when_what_was_refused_before_is_answered_now_though_a_little_slower(self, refused):
        assert not clearly_worse(window(0.02, rejected=refused), window(0.03), SLO, SETTINGS)

    def test_losing_clearly_more_than_before_is_worse_though_both_lose_too_much(self):
        assert clearly_worse(window(0.02, rejected=50), window(0.02, count=100, rejected=900), SLO, SETTINGS)
        assert clearly_worse(window(0.04, rejected=50), window(0.01, rejected=100), SLO, SETTINGS)

    def test_not_when_chance_explains_that_it_loses_more(self):
        assert not clearly_worse(window(0.01, rejected=50), window(0.04, rejected=65), SLO, SETTINGS)

    def test_not_when_it_loses_only_a_little_more_however_certain(self):
        few, more = (window(0.01, count=100_000 - lost, rejected=lost) for lost in (50_000, 51_500))
        assert not clearly_worse(few, more, SLO, SETTINGS)
        assert not clearly_worse(more, few, SLO, SETTINGS)

    def test_not_when_it_loses_too_much_but_less_than_before(self):
        assert not clearly_worse(window(0.01, count=100, rejected=900), window(0.04, rejected=50), SLO, SETTINGS)
