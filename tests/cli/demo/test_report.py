"""What the demo says at its end follows from what the clients felt."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from service.cli.demo.report import HOLD_SECONDS, DemoReport, RunResult, seconds_to_slo
from service.domain.slo import Slo

SLO = Slo(0.05)


def _second(t: int, violations: int, ok: int = 100) -> dict[str, Any]:
    return {"t": float(t), "ok": ok, "failed": {}, "slo_violations": violations}


def test_the_objective_is_reached_at_the_start_of_the_first_stretch_that_holds() -> None:
    timeline = [_second(t, 50 if t <= 7 else 0) for t in range(1, 20)]

    assert seconds_to_slo(timeline, SLO) == 8.0


def test_a_stretch_that_breaks_off_too_early_does_not_count() -> None:
    good = HOLD_SECONDS - 1
    timeline = [_second(t, 0 if t <= good else 50) for t in range(1, 20)]

    assert seconds_to_slo(timeline, SLO) is None


def test_as_many_violations_as_the_target_allows_are_within_the_objective() -> None:
    assert seconds_to_slo([_second(t, 1) for t in range(1, 6)], SLO) == 1.0
    assert seconds_to_slo([_second(t, 2) for t in range(1, 6)], SLO) is None


def test_seconds_without_answers_are_no_success() -> None:
    assert seconds_to_slo([_second(t, 0, ok=0) for t in range(1, 20)], SLO) is None


def _load(p99: float, violations: float, failed: int) -> dict[str, Any]:
    phase = {
        "name": "14 requests/s",
        "start": 0.0,
        "scheduled": 1000,
        "latency": {"p99": p99},
        "slo_violation_ratio": violations,
    }
    return {
        "latency": {"p50": p99 / 3, "p99": p99},
        "slo_violation_ratio": violations,
        "throughput": 99.0,
        "scheduled": 1000,
        "failed": {"UNAVAILABLE": failed} if failed else {},
        "timeline": [],
        "valid": True,
        "invalid_reasons": [],
        "phases": [phase],
    }


def _report() -> DemoReport:
    return DemoReport(
        model="mlp",
        seed=0,
        slo=SLO,
        peak_rate_per_second=100.0,
        baseline=RunResult.of(_load(0.5, 0.4, 0), SLO),
        regulus=RunResult.of(_load(0.025, 0.001, 3), SLO),
        switches=4,
        rollbacks=1,
        configs=({"at_seconds": 0.0, "config": {}},),
        decisions=(),
        machine={"cpus": 2},
    )


def test_the_written_report_holds_both_runs_and_what_was_done() -> None:
    raw = _report().to_dict()

    assert raw["baseline"]["p99_seconds"] == 0.5
    assert raw["regulus"] | {"p50_seconds": None} == {
        "p50_seconds": None,
        "p99_seconds": 0.025,
        "slo_violation_ratio": 0.001,
        "throughput_per_second": 99.0,
        "requests": 1000,
        "failed": 3,
        "seconds_to_slo": None,
        "generator_valid": True,
        "generator_notes": (),
        "phases": raw["regulus"]["phases"],
    }
    assert raw["switches"] == 4
    assert raw["machine"] == {"cpus": 2}


def test_the_table_shows_both_runs_and_the_change() -> None:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(_report().table())
    text = capture.get()

    assert "500.0 ms" in text
    assert "25.0 ms" in text
    assert "−95.0%" in text
    assert "4 (1 taken back)" in text
    assert "never" in text
