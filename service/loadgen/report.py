"""LoadReport: what a run showed, and whether it may be believed. Pure.

Latency counts from the *intended* send time: a request that the generator or a stalled server held back is charged for
the wait (no coordinated omission). Service latency counts from the actual send. All times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.loadgen.histogram import Recorder, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondStats:
    """What happened in one second of a run (its last one may be shorter).

    Attributes:
        t: End of it, seconds from the start of the run.
        scheduled: Requests that were to be sent in it.
        sent: Requests that were sent.
        ok: Requests answered well.
        failed: Requests that failed, by code.
        in_flight: Requests without an answer at its end.
        rate: Requests sent a second.
        p50: Median latency of those answered well; NaN when there were none; so p90, p99.
        p90: 90th percentile.
        p99: 99th percentile.
        slo_violations: Requests answered too late for the objective, or failed; 0 where there is no objective.
        lag_max: The generator's largest own delay.
    """

    t: float
    scheduled: int
    sent: int
    ok: int
    failed: Mapping[str, int]
    in_flight: int
    rate: float
    p50: float
    p90: float
    p99: float
    slo_violations: int
    lag_max: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {key: _plain(value) for key, value in raw.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseReport:
    """One phase of the schedule; a request belongs to the phase in which it was to be sent.

    Attributes:
        name: The phase's name.
        start: Beginning, seconds from the start of the run.
        end: Its end.
        scheduled: Requests that were to be sent in it.
        ok: Of these, answered well.
        failed: Of these, failed, by code.
        latency: From intended send times, of those answered well.
        slo_violation_ratio: Share of ``scheduled`` that broke the objective; None where there is none.
    """

    name: str
    start: float
    end: float
    scheduled: int
    ok: int
    failed: Mapping[str, int]
    latency: Summary
    slo_violation_ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {key: _plain(value) for key, value in raw.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """A run.

    Attributes:
        target: The server.
        model: Name of the model.
        seed: Seed of arrivals and payloads.
        started_at: Unix time of the first second's beginning.
        duration: Seconds until the last answer, or until the run was given up.
        interrupted: Whether it was stopped before its end.
        scheduled: Requests whose time came.
        sent: Requests that were sent.
        ok: Requests answered well.
        failed: Requests that failed, by code; ``NOT_SENT`` are those beyond the limit on requests in flight.
        errors: The first message for each code.
        unanswered: Requests sent, but given up without an answer when the run was interrupted.
        offered_rate: Requests a second that the plan wanted.
        achieved_rate: Requests a second that were sent.
        throughput: Good answers a second.
        latency: From intended send times, of good answers.
        service: From actual send times, of good answers.
        lag: The generator's own delay: actual minus intended send time.
        slo_seconds: The objective's bound; None where there is none.
        slo_violations: Requests over the bound, or failed.
        cpu_ratio: Processor time this process used over the time that passed; near 1 its event loop is the limit.
        invalid_reasons: Why the numbers should not be believed; empty for a valid run.
        phases: The schedule's phases.
        timeline: Each second.
    """

    target: str
    model: str
    seed: int
    started_at: float
    duration: float
    interrupted: bool
    scheduled: int
    sent: int
    ok: int
    failed: Mapping[str, int]
    errors: Mapping[str, str]
    unanswered: int
    offered_rate: float
    achieved_rate: float
    throughput: float
    latency: Recorder
    service: Recorder
    lag: Recorder
    slo_seconds: float | None
    slo_violations: int
    cpu_ratio: float
    invalid_reasons: tuple[str, ...]
    phases: tuple[PhaseReport, ...]
    timeline: tuple[SecondStats, ...]

    @property
    def valid(self) -> bool:
        """Whether the generator kept its own schedule well enough for the numbers to be the server's."""
        return not self.invalid_reasons

    @property
    def failures(self) -> int:
        """Failed requests of all kinds."""
        return sum(self.failed.values())

    @property
    def slo_violation_ratio(self) -> float | None:
        """Share of all scheduled requests that broke the objective; None without an objective."""
        return None if self.slo_seconds is None else share(self.slo_violations, self.scheduled)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. Times are in seconds, rates in requests a second; NaN becomes null."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **{key: _plain(value) for key, value in raw.items()},
            "valid": self.valid,
            "slo_violation_ratio": self.slo_violation_ratio,
        }


def share(part: int, whole: int) -> float:
    """``part`` of ``whole``; 0 of nothing."""
    return part / whole if whole else 0.0


def lag_reasons(lag: Summary, latency: Summary, max_lag: float, max_lag_ratio: float) -> tuple[str, ...]:
    """Why the generator's own delay spoils the percentiles; empty where it does not.

    The lag is part of the latency, like for like: at the median and at p99 it may make up ``max_lag_ratio`` of the
    latency, or ``max_lag`` seconds where that is more. Waiting for the server is no lag: sending never blocks on it. An
    answer waits for the event loop as a sending does, so the lag samples that delay as well.
    """
    reasons = []
    for name in ("p50", "p99"):
        late, whole = getattr(lag, name), getattr(latency, name)
        allowed = max(max_lag, max_lag_ratio * whole) if not math.isnan(whole) else max_lag
        if late > allowed:
            reasons.append(
                f"the generator itself was late: its {name} lag is {late * 1e3:.3g} ms, of which "
                f"{allowed * 1e3:.3g} ms are tolerable; lower the rate or give it a processor of its own"
            )
    return tuple(reasons)


def _plain(value: Any) -> Any:
    """JSON-ready form of a field's value."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value.to_dict() if hasattr(value, "to_dict") else value
