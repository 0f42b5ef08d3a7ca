from __future__ import annotations

from dataclasses import replace

from service.control.judge import Judgement, judge
from service.control.probation import Outcome, Probation, rule
from service.control.settings import LoopSettings
from service.domain.histogram import Histogram, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.telemetry.stationarity import Stationarity

SLO = Slo(0.05)
SETTINGS = LoopSettings()
BOUNDS = exponential_bounds(1e-4, 1.1, 141)


def window(p99: float, rate: float = 100.0) -> Window:
    values = [p99 * (i + 1) / 990 for i in range(1000)]
    return Window(
        started_at=0.0,
        duration_seconds=10.0,
        latency=Histogram.of(values, BOUNDS),
        workload=Workload(rate),
        succeeded=1000,
    )


def ruled(before: Window | None, after: Window) -> Outcome:
    probation = Probation(
        config=ServingConfig(instances=2), since=0.0, fallback=ServingConfig(), baseline=before, by_user=False
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


def test_from_bad_to_worse_moves_on():
    assert ruled(window(0.1), window(0.3)) is Outcome.MOVE_ON


def test_from_bad_to_as_bad_is_kept():
    assert ruled(window(0.1), window(0.1)) is Outcome.KEEP


def test_at_another_load_nothing_can_be_said_against_it():
    assert ruled(window(0.01), window(0.3, rate=400)) is Outcome.KEEP


def test_without_a_window_before_nothing_can_be_said_against_it():
    assert ruled(None, window(0.3)) is Outcome.KEEP


def test_a_window_before_in_which_all_was_lost_is_no_better():
    lost = replace(window(0.01), latency=Histogram.empty(BOUNDS), succeeded=0, rejected=1000)
    assert ruled(lost, window(0.3)) is Outcome.KEEP
