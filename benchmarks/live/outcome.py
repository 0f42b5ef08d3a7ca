"""Outcome: what a run's clients felt and what the policy did, as one row. Pure.

Lost requests (refused, failed, given up after :data:`TIMEOUT_SECONDS`, or never sent because too many were waiting)
count as slow as the time-out, and break the objective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.statistics import quantile
from service.domain.slo import Slo
from service.loadgen.report import LoadReport, PhaseReport, SecondStats

#: A client waits this long.
TIMEOUT_SECONDS = 10.0
#: Requests without an answer at once; those that are due beyond them are lost.
MAX_IN_FLIGHT = 4096
#: An objective is met over stretches of so many seconds: one second holds too few requests to tell.
STRETCH_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A configuration that was put in force.

    Attributes:
        at: Unix time at which requests were served by it.
        config: It, for people.
        intent: Why the policy named it.
        seconds: How long the change took.
    """

    at: float
    config: str
    intent: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """What a policy did in a run.

    Attributes:
        windows: Windows that were judged.
        thinking: Seconds from each window's end to the choice: learning and choosing. The last may be unfinished.
        switches: Changes of the configuration, in order.
        refused: Changes that the server did not make.
        peak_bytes: The most memory that the steering process held.
    """

    windows: int
    thinking: tuple[float, ...]
    switches: tuple[Switch, ...]
    refused: int
    peak_bytes: int


def row(report: LoadReport, steered: Steered, slo: Slo) -> dict[str, Any]:
    """A run in numbers, JSON-ready. Times in seconds from the run's start; NaN becomes null."""
    found: dict[str, Any] = {
        "slo": slo.to_dict(),
        "requests": report.scheduled,
        "lost": dict(report.failed),
        "p50": _tail(report, 0.5),
        "p99": _tail(report, 0.99),
        "p99_thirds": [_rounded(_tail_of(phase)) for phase in report.phases],
        "violation_ratio": report.slo_violation_ratio or 0.0,
        "met_after": met_after(report.timeline, slo),
        "windows": steered.windows,
        "suggestion_p50": quantile(steered.thinking, 0.5),
        "suggestion_p99": quantile(steered.thinking, 0.99),
        "suggestion_max": max(steered.thinking, default=math.nan),
        "switches": [
            [round(one.at - report.started_at, 2), one.config, one.intent, round(one.seconds, 4)]
            for one in steered.switches
        ],
        "refused": steered.refused,
        "peak_bytes": steered.peak_bytes,
        "client_lag_p99": report.lag.summary().p99,
        "client_cpu": round(report.cpu_ratio, 3),
        "invalid": list(report.invalid_reasons),
        "p99_by_second": [_rounded(second.p99) for second in report.timeline],
    }
    short = {name: _rounded(value) if isinstance(value, float) else value for name, value in found.items()}
    return {"started_at": report.started_at, **short}


def met_after(timeline: Sequence[SecondStats], slo: Slo) -> float | None:
    """When the objective was met for good: each stretch that begins later meets it. None: the last one does not.

    Args:
        timeline: Each second of the run; a request belongs to the second in which it was answered.
        slo: The objective.
    """
    length = min(STRETCH_SECONDS, len(timeline))
    after = 0.0
    for start in range(len(timeline) - length + 1):
        stretch = timeline[start : start + length]
        if _breaks(stretch, slo):
            if start == len(timeline) - length:
                return None
            after = stretch[0].t
    return round(after, 2)


def _breaks(stretch: Sequence[SecondStats], slo: Slo) -> bool:
    ended = sum(second.ok + sum(second.failed.values()) for second in stretch)
    if not ended:
        return stretch[-1].in_flight > 0
    return sum(second.slo_violations for second in stretch) > (1 - slo.target_ratio) * ended


def _tail(report: LoadReport, q: float) -> float:
    """Quantile of all requests, the lost ones at the time-out."""
    answered = report.latency.histogram()
    reached = q * report.scheduled / answered.count if answered.count else 1.0
    return min(answered.quantile(reached), TIMEOUT_SECONDS) if reached < 1 else TIMEOUT_SECONDS


def _tail_of(phase: PhaseReport) -> float:
    """The p99 of a phase's answered requests, or the time-out where more than one in a hundred was lost."""
    return phase.latency.p99 if phase.ok >= 0.99 * phase.scheduled else TIMEOUT_SECONDS


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
