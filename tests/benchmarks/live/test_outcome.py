"""A run in numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from benchmarks.live.outcome import STRETCH_SECONDS, TIMEOUT_SECONDS, Steered, Switch, met_after, row
from service.domain.slo import Slo
from service.loadgen.report import LoadReport, SecondStats
from service.loadgen.schedules import Phase
from service.loadgen.stats import RunStats

SLO = Slo(0.05)
STEERED = Steered(
    windows=3,
    thinking=(0.01, 0.03, 0.02),
    switches=(Switch(at=1012.5, config="batch≤8", intent="explore", seconds=0.2),),
    refused=0,
    peak_bytes=1 << 20,
)


def second(t: int, violations: int, ok: int = 100, failed: int = 0, in_flight: int = 0) -> SecondStats:
    return SecondStats(
        t=float(t),
        scheduled=ok + failed,
        sent=ok + failed,
        ok=ok,
        failed={"UNAVAILABLE": failed} if failed else {},
        in_flight=in_flight,
        rate=100.0,
        p50=0.01,
        p90=0.02,
        p99=0.03,
        slo_violations=violations,
        lag_max=0.0,
    )


def timeline(violations: Sequence[int]) -> list[SecondStats]:
    return [second(t + 1, count) for t, count in enumerate(violations)]


def report(latencies: Sequence[float | None], seconds: float = 3.0) -> LoadReport:
    """A report of requests evenly over a run; None is one that was refused."""
    phases = [Phase(f"third {i}", i * seconds / 3, (i + 1) * seconds / 3) for i in range(3)]
    stats = RunStats(phases, SLO.bound_seconds)
    for i, latency in enumerate(latencies):
        due = i * seconds / len(latencies)
        stats.sent(due, due)
        stats.answered(due, due, due + (latency or 0.0), "OK" if latency is not None else "UNAVAILABLE", "")
    stats.close_second(seconds)
    return LoadReport(
        target="grpc://127.0.0.1:1",
        model="m",
        seed=0,
        started_at=1000.0,
        duration=seconds,
        interrupted=False,
        scheduled=stats.scheduled,
        sent=stats.sent_count,
        ok=stats.ok,
        failed=stats.failed,
        errors=stats.errors,
        unanswered=0,
        offered_rate=1.0,
        achieved_rate=1.0,
        throughput=1.0,
        latency=stats.latency(),
        service=stats.service,
        lag=stats.lag,
        slo_seconds=SLO.bound_seconds,
        slo_violations=stats.violations,
        cpu_ratio=0.5,
        invalid_reasons=(),
        phases=stats.phase_reports(),
        timeline=tuple(stats.timeline),
    )


def test_a_run_becomes_numbers_that_json_takes() -> None:
    found = row(report([0.01] * 150 + [0.02] * 147 + [0.2] * 3), STEERED, SLO)
    assert json.loads(json.dumps(found)) == found
    assert found["p50"] == pytest.approx(0.01, rel=0.02)
    assert found["violation_ratio"] == pytest.approx(0.01)
    assert found["p99_thirds"] == pytest.approx([0.01, 0.02, 0.2], rel=0.02)
    assert found["suggestion_p50"] == 0.02
    assert found["suggestion_max"] == 0.03
    assert found["switches"] == [[12.5, "batch≤8", "explore", 0.2]]


def test_lost_requests_are_as_slow_as_the_time_out() -> None:
    some = row(report([0.01] * 990 + [None] * 10), STEERED, SLO)
    assert some["p99"] == TIMEOUT_SECONDS
    assert some["violation_ratio"] == pytest.approx(0.01)
    assert some["lost"] == {"UNAVAILABLE": 10}
    few = row(report([0.01] * 990 + [0.02] * 6 + [None] * 4), STEERED, SLO)
    assert few["p99"] < 0.05
    assert few["p99_thirds"][-1] == TIMEOUT_SECONDS


def test_a_run_in_which_all_was_lost_has_a_tail() -> None:
    found = row(report([None] * 30), STEERED, SLO)
    assert (found["p50"], found["p99"]) == (TIMEOUT_SECONDS, TIMEOUT_SECONDS)
    assert found["p99_by_second"] == [None]


def test_a_policy_that_was_never_asked_took_no_time() -> None:
    idle = Steered(windows=0, thinking=(), switches=(), refused=0, peak_bytes=1)
    found = row(report([0.01] * 30), idle, SLO)
    assert found["suggestion_p99"] is found["suggestion_max"] is None


@pytest.mark.parametrize(
    ("violations", "expected"),
    [
        ([0] * 20, 0.0),
        ([50] * 4 + [0] * 16, 4.0),
        ([50] * 4 + [0] * 6 + [50] + [0] * 9, 11.0),
        ([0] * 19 + [50], None),
        ([50] * 20, None),
        ([0, 0, 3] + [0] * 17, 0.0),  # 3 of 500 in a stretch: within the error budget
        ([50, 0, 0], None),  # shorter than a stretch
    ],
)
def test_an_objective_is_met_for_good_once_no_later_stretch_breaks_it(
    violations: list[int], expected: float | None
) -> None:
    assert met_after(timeline(violations), SLO) == expected


def test_a_server_that_answers_nothing_does_not_meet_the_objective() -> None:
    silent = [second(t, 0, ok=0, in_flight=40) for t in range(1, 8)]
    assert met_after(silent, SLO) is None
    idle = [second(t, 0, ok=0) for t in range(1, 8)]
    assert met_after(idle, SLO) == 0.0
    assert met_after([*silent, *timeline([0] * 10)], SLO) == len(silent) - STRETCH_SECONDS + 1
