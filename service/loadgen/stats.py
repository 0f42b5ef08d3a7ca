"""RunStats: counts a run's requests as they are due, sent and answered, by second and by phase. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Final

from service.loadgen.histogram import Recorder
from service.loadgen.report import PhaseReport, SecondStats, share
from service.loadgen.schedules import Phase
from service.loadgen.transport import OK

#: Outcome of a request that was not sent because too many were in flight.
NOT_SENT: Final = "NOT_SENT"


class _Tally:
    """Requests of one phase, or of one second."""

    __slots__ = ("failed", "latency", "ok", "scheduled", "violations")

    def __init__(self) -> None:
        self.scheduled = 0
        self.ok = 0
        self.violations = 0
        self.failed: Counter[str] = Counter()
        self.latency = Recorder()


class RunStats:
    """The numbers of one run. All times in seconds from its start.

    Args:
        phases: The schedule's phases, ascending.
        slo_seconds: Latency beyond which a good answer breaks the objective; None for no objective.
    """

    def __init__(self, phases: Sequence[Phase], slo_seconds: float | None) -> None:
        self._phases = phases
        self._starts = [phase.start for phase in phases]
        self._by_phase = [_Tally() for _ in phases]
        self._slo = math.inf if slo_seconds is None else slo_seconds
        self._has_slo = slo_seconds is not None
        self._second = _Tally()
        self._second_start = 0.0
        self._second_sent = 0
        self._second_lag = 0.0
        self.sent_count = 0
        self.in_flight = 0
        self.lag = Recorder()
        self.service = Recorder()
        self.errors: dict[str, str] = {}
        self.timeline: list[SecondStats] = []

    def _tally(self, intended: float) -> _Tally:
        return self._by_phase[max(0, bisect_right(self._starts, intended) - 1)]

    def sent(self, intended: float, now: float) -> None:
        """A request that was due at ``intended`` is being sent."""
        lag = now - intended
        self.lag.record(lag)
        self._second_lag = max(self._second_lag, lag)
        self._tally(intended).scheduled += 1
        self._second.scheduled += 1
        self._second_sent += 1
        self.sent_count += 1
        self.in_flight += 1

    def not_sent(self, intended: float, in_flight: int) -> None:
        """A request was due, but ``in_flight`` others, the most allowed, had no answer yet."""
        tally = self._tally(intended)
        tally.scheduled += 1
        self._second.scheduled += 1
        self._failed(tally, NOT_SENT, f"{in_flight} requests, the most allowed, were in flight")

    def answered(self, intended: float, sent_at: float, now: float, code: str, message: str) -> None:
        """A sent request ended with ``code``."""
        self.in_flight -= 1
        tally = self._tally(intended)
        if code != OK:
            self._failed(tally, code, message)
            return
        latency = now - intended
        self.service.record(now - sent_at)
        for counted in (tally, self._second):
            counted.ok += 1
            counted.latency.record(latency)
            counted.violations += latency > self._slo

    def _failed(self, tally: _Tally, code: str, message: str) -> None:
        self.errors.setdefault(code, message)
        for counted in (tally, self._second):
            counted.failed[code] += 1
            counted.violations += self._has_slo

    def close_second(self, now: float) -> SecondStats:
        """End the current second at ``now`` and begin the next."""
        tally, length = self._second, now - self._second_start
        latency = tally.latency.summary()
        second = SecondStats(
            t=now,
            scheduled=tally.scheduled,
            sent=self._second_sent,
            ok=tally.ok,
            failed=dict(tally.failed),
            in_flight=self.in_flight,
            rate=self._second_sent / length if length > 0 else 0.0,
            p50=latency.p50,
            p90=latency.p90,
            p99=latency.p99,
            slo_violations=tally.violations,
            lag_max=self._second_lag,
        )
        self.timeline.append(second)
        self._second, self._second_start, self._second_sent, self._second_lag = _Tally(), now, 0, 0.0
        return second

    @property
    def scheduled(self) -> int:
        """Requests that were due so far."""
        return sum(tally.scheduled for tally in self._by_phase)

    @property
    def ok(self) -> int:
        """Requests answered well so far."""
        return sum(tally.ok for tally in self._by_phase)

    @property
    def failed(self) -> dict[str, int]:
        """Requests that failed so far, by code."""
        return dict(sum((tally.failed for tally in self._by_phase), Counter()))

    @property
    def violations(self) -> int:
        """Requests that broke the objective so far."""
        return sum(tally.violations for tally in self._by_phase)

    def latency(self) -> Recorder:
        """Latencies of the whole run."""
        return Recorder.merged(tally.latency for tally in self._by_phase)

    def phase_reports(self) -> tuple[PhaseReport, ...]:
        """Phase by phase; phases whose time never came are left out."""
        return tuple(
            PhaseReport(
                name=phase.name,
                start=phase.start,
                end=phase.end,
                scheduled=tally.scheduled,
                ok=tally.ok,
                failed=dict(tally.failed),
                latency=tally.latency.summary(),
                slo_violation_ratio=share(tally.violations, tally.scheduled) if self._has_slo else None,
            )
            for phase, tally in zip(self._phases, self._by_phase, strict=True)
            if tally.scheduled
        )
