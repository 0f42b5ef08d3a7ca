from __future__ import annotations

from dataclasses import replace

import pytest

from service.control.judge import Judgement, judge
from service.control.probation import Outcome, Probation, Ruling, rule
from service.control.settings import LoopSettings
from service.domain.histogram import Histogram, Interval, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.telemetry.stationarity import Stationarity

SLO = Slo(0.05)
SETTINGS = LoopSettings()
BOUNDS = exponential_bounds(1e-4, 1.1, 141)


def window(p99: float, rate: float = 100.0, rejected: int = 0) -> Window:
    values = [p99 * (i + 1) / 990 for i in range(1000)]
    return Window(
        started_at=0.0,
        duration_seconds=10.0,
        latency=Histogram.of(values, BOUNDS),
        workload=Workload(rate),
        succeeded=1000,
        rejected=rejected,
    )


def ruled(before: Window | None, after: Window, worse_before: int = 0) -> Outcome:
    probation = Probation(
        config=ServingConfig(instances=2),
        since=0.0,
        fallback=ServingConfig(),
        baseline=before,
        by_user=False,
        worse_before=worse_before,
    )
    judgement = judge(after, Stationarity(), SLO, SETTINGS, waited_seconds=100.0)
    assert isinstance(judgement, Judgement)
    ruling = rule(probation, judgement, SLO, SETTINGS)
    assert ruling.explanation.startswith("p99")
    return ruling.outcome


def test_better_is_kept():
    assert ruled(window(0.04), window(0.02)) is Outcome.KEEP


def test_the_same_is_kept():
    assert ruled(window(0.03), window(0.03)) is Outcome.KEEP


def test_a_lost_objective_sends_back():
    assert ruled(window(0.04), window(0.08)) is Outcome.RETURN


def test_clearly_slower_sends_back_even_within_the_objective():
    assert ruled(window(0.01), window(0.03)) is Outcome.RETURN


def test_what_ends_the_refusals_and_meets_the_objective_is_kept_though_survivors_were_faster_before():
    assert ruled(window(0.02, rejected=111), window(0.03)) is Outcome.KEEP


def test_from_a_few_refusals_to_nothing_but_refusals_is_not_kept():
    assert ruled(window(0.02, rejected=50), window(0.02, rejected=9000)) is Outcome.MOVE_ON
    assert ruled(window(0.02, rejected=50), window(0.02, rejected=9000), worse_before=1) is Outcome.RETURN


def test_from_bad_to_worse_moves_on():
    assert ruled(window(0.1), window(0.3)) is Outcome.MOVE_ON


def test_from_bad_to_worse_twice_sends_back():
    assert ruled(window(0.1), window(0.3), worse_before=1) is Outcome.RETURN


def test_a_trial_after_a_worse_one_that_is_no_worse_is_kept():
    assert ruled(window(0.1), window(0.1), worse_before=1) is Outcome.KEEP


def test_from_bad_to_as_bad_is_kept():
    assert ruled(window(0.1), window(0.1)) is Outcome.KEEP


def test_at_another_load_nothing_can_be_said_against_it():
    assert ruled(window(0.01), window(0.3, rate=400)) is Outcome.KEEP


def test_without_a_window_before_nothing_can_be_said_against_it():
    assert ruled(None, window(0.3)) is Outcome.KEEP


def test_a_window_before_in_which_all_was_lost_is_no_better():
    lost = replace(window(0.01), latency=Histogram.empty(BOUNDS), succeeded=0, rejected=1000)
    assert ruled(lost, window(0.3)) is Outcome.KEEP


class TestAgainstThePromise:
    def ruling(self, before: Window | None, after: Window, *, fallback_now: Interval | None = None) -> Ruling:
        probation = Probation(
            config=ServingConfig(instances=2),
            since=0.0,
            fallback=ServingConfig(),
            baseline=before,
            by_user=False,
            promised=Interval(0.02, 0.025, 0.03),
        )
        judgement = judge(after, Stationarity(), SLO, SETTINGS, waited_seconds=100.0)
        assert isinstance(judgement, Judgement)
        return rule(probation, judgement, SLO, SETTINGS, fallback_now=fallback_now)

    @pytest.mark.parametrize(
        ("measured", "said"),
        [(0.01, "better than the 20…30 ms predicted"), (0.025, "within the"), (0.045, "worse than the 20…30 ms")],
    )
    def test_how_the_measured_stands_to_it_is_told(self, measured, said):
        assert said in self.ruling(window(measured), window(measured)).explanation

    def test_under_another_load_a_broken_promise_goes_back_where_that_is_sure_to_help(self):
        sure, unsure = Interval(0.01, 0.02, 0.04), Interval(0.01, 0.04, 0.06)
        before, after = window(0.02), window(0.2, rate=300.0)
        assert self.ruling(before, after, fallback_now=sure).outcome is Outcome.RETURN
        assert self.ruling(before, after, fallback_now=unsure).outcome is Outcome.KEEP
        assert self.ruling(before, after).outcome is Outcome.KEEP

    def test_under_another_load_a_kept_promise_stays(self):
        sure = Interval(0.01, 0.02, 0.04)
        assert self.ruling(window(0.02), window(0.025, rate=300.0), fallback_now=sure).outcome is Outcome.KEEP
