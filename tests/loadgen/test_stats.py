from __future__ import annotations

import json
import math

import pytest

from service.loadgen.histogram import Recorder, Summary
from service.loadgen.report import lag_reasons
from service.loadgen.schedules import Phase
from service.loadgen.stats import NOT_SENT, RunStats

PHASES = (Phase("slow", 0, 10), Phase("fast", 10, 20))


def test_latency_counts_from_the_intended_time_and_service_from_the_actual() -> None:
    stats = RunStats(PHASES, None)
    stats.sent(intended=1.0, now=1.5)
    stats.answered(intended=1.0, sent_at=1.5, now=1.7, code="OK", message="")
    assert stats.latency().highest == pytest.approx(0.7)
    assert stats.service.highest == pytest.approx(0.2)
    assert stats.lag.highest == pytest.approx(0.5)
    assert stats.in_flight == 0


def test_a_request_belongs_to_the_phase_it_was_due_in_and_the_second_it_was_answered_in() -> None:
    stats = RunStats(PHASES, None)
    stats.sent(9.9, 9.9)
    first = stats.close_second(10.0)
    stats.answered(9.9, 9.9, 12.9, "OK", "")
    second = stats.close_second(13.0)
    assert (first.scheduled, first.sent, first.ok, first.in_flight) == (1, 1, 0, 1)
    assert (second.scheduled, second.sent, second.ok, second.in_flight) == (0, 0, 1, 0)
    assert math.isnan(first.p99)
    assert second.p99 == pytest.approx(3.0)
    (phase,) = stats.phase_reports()
    assert (phase.name, phase.ok) == ("slow", 1)


def test_slow_and_failed_requests_break_the_objective() -> None:
    stats = RunStats(PHASES, slo_seconds=0.1)
    for now, code in ((0.05, "OK"), (0.2, "OK"), (0.01, "UNAVAILABLE")):
        stats.sent(0.0, 0.0)
        stats.answered(0.0, 0.0, now, code, "busy")
    stats.not_sent(0.0, 3)
    assert stats.violations == 3
    assert stats.failed == {"UNAVAILABLE": 1, NOT_SENT: 1}
    assert stats.errors["UNAVAILABLE"] == "busy"
    assert stats.close_second(1.0).slo_violations == 3
    assert stats.phase_reports()[0].slo_violation_ratio == 0.75


def test_without_an_objective_nothing_breaks_it() -> None:
    stats = RunStats(PHASES, None)
    stats.not_sent(0.0, 3)
    assert stats.violations == 0
    assert stats.phase_reports()[0].slo_violation_ratio is None


def test_a_second_without_answers_is_null_in_json() -> None:
    assert json.loads(json.dumps(RunStats(PHASES, None).close_second(1.0).to_dict()))["p50"] is None


def of(p50: float, p99: float) -> Summary:
    return Summary(100, p50, p50, p99, p99, p99, p99, p99)


@pytest.mark.parametrize(
    ("lag", "latency", "spoiled"),
    [
        (of(0.0001, 0.0009), of(0.001, 0.002), []),  # Below what is always tolerated.
        (of(0.0001, 0.004), of(0.01, 0.05), []),  # Below a tenth of the latency at the same percentile.
        (of(0.0001, 0.006), of(0.01, 0.05), ["p99"]),
        (of(0.002, 0.004), of(0.01, 0.05), ["p50"]),
        (of(0.1, 0.2), Recorder().summary(), ["p50", "p99"]),  # Nothing answered: the fixed limit alone.
        (Recorder().summary(), Recorder().summary(), []),
    ],
)
def test_own_lag_spoils_a_run_when_it_is_a_notable_part_of_the_latency(
    lag: Summary, latency: Summary, spoiled: list[str]
) -> None:
    reasons = lag_reasons(lag, latency, max_lag=0.001, max_lag_ratio=0.1)
    assert [reason.split(" lag is")[0][-3:] for reason in reasons] == spoiled
