"""Error budget: how much of what may go wrong has gone wrong, and how fast it goes on. Pure.

The objective allows a share ``1 - target_ratio`` of the requests of a period to break its bound. The burn rate over a
stretch is the share that broke it, as a multiple of the share allowed: 1 spends exactly the budget. A level of alarm
needs two stretches to burn, after the multi-window alerts of Google's SRE workbook (chapter 5, "Alerting on SLOs"): the
long one shows that it matters, the short one that it still goes on.

Time of which nothing is known counts as kept: a service that has looked on for a minute cannot have spent the budget of
an hour, however bad that minute was. All times are monotonic seconds, so that a clock that jumps spends nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from service.domain.slo import Slo

#: Buckets in the shortest stretch, and in the period: finer than anything decided by them.
BUCKETS_IN_SHORTEST = 30
BUCKETS_IN_PERIOD = 720


class Burn(StrEnum):
    """How fast the budget burns. Bounded: used as a metric label."""

    HEALTHY = "healthy"
    SLOW = "slow"
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Two stretches that must both burn at ``rate`` for a level of alarm.

    Attributes:
        burn: The level.
        short: The stretch that shows that it still goes on, as (name, seconds).
        long: The stretch that shows that it matters, as (name, seconds).
        rate: Multiple of what the objective allows.
    """

    burn: Burn
    short: tuple[str, float]
    long: tuple[str, float]
    rate: float


#: The workbook's two paging alarms, the worst first: 2 % of 30 days' budget in an hour, 5 % in six.
ALARMS = (
    Alarm(Burn.FAST, ("5m", 300.0), ("1h", 3600.0), 14.4),
    Alarm(Burn.SLOW, ("30m", 1800.0), ("6h", 21_600.0), 6.0),
)

#: The longest stretch over which a burn rate is taken, seconds.
LONGEST_STRETCH_SECONDS = max(seconds for alarm in ALARMS for _, seconds in (alarm.short, alarm.long))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """The budget at one moment.

    Attributes:
        remaining_ratio: Share of the period's budget that is left: 1 untouched, 0 spent, negative overspent; None
            before the first window.
        burn: The level of alarm.
        rates: Burn rate by the name of the stretch (``5m``, ``30m``, ``1h``, ``6h``); 0 where no request is known of.
        known_seconds: How much of the period the figures rest on.
    """

    remaining_ratio: float | None = None
    burn: Burn = Burn.HEALTHY
    rates: Mapping[str, float] = field(default_factory=dict)
    known_seconds: float = 0.0

    def describe(self) -> str:
        """For people: ``fast: 22 × over 5m, 15 × over 1h``."""
        return f"{self.burn.value}: " + ", ".join(f"{rate:.3g} × over {name}" for name, rate in self.rates.items())


class _Counts:
    """Requests, and those that broke the bound, in buckets of time; bounded by the span it remembers."""

    def __init__(self, width_seconds: float, span_seconds: float) -> None:
        self.width = width_seconds
        self._buckets: deque[tuple[int, float, float]] = deque()
        self._kept = int(span_seconds / width_seconds) + 1

    def add(self, at: float, total: float, bad: float) -> None:
        index = int(at // self.width)
        if self._buckets and index <= self._buckets[-1][0]:
            last, before, bad_before = self._buckets.pop()
            index, total, bad = last, before + total, bad_before + bad
        self._buckets.append((index, total, bad))
        while self._buckets[0][0] <= index - self._kept:
            self._buckets.popleft()

    def since(self, moment: float) -> tuple[float, float]:
        """Requests and bad ones that came after ``moment``, to the accuracy of a bucket."""
        first = moment // self.width
        total = bad = 0.0
        for index, all_of_it, bad_of_it in reversed(self._buckets):
            if index < first:
                break
            total, bad = total + all_of_it, bad + bad_of_it
        return total, bad


class ErrorBudget:
    """The budget of one model. Not safe for concurrent use.

    Args:
        period_seconds: What the budget is counted over.
        scale: Factor on the lengths of all stretches; below 1 a demonstration sees in minutes what takes hours.
    """

    def __init__(self, period_seconds: float, scale: float = 1.0) -> None:
        self._period = period_seconds
        self._scale = scale
        lengths = [seconds * scale for alarm in ALARMS for _, seconds in (alarm.short, alarm.long)]
        self._recent = _Counts(min(lengths) / BUCKETS_IN_SHORTEST, max(lengths))
        self._all = _Counts(period_seconds / BUCKETS_IN_PERIOD, period_seconds)
        self._first: float | None = None
        self._latest: tuple[tuple[Slo, int], BudgetState] | None = None

    def add(self, ended_at: float, duration_seconds: float, requests: int, violation_ratio: float) -> None:
        """Count a window.

        Args:
            ended_at: When it ended; not before the one added last.
            duration_seconds: How long it lasted.
            requests: All requests in it.
            violation_ratio: Share of them that broke the bound, were refused or failed.
        """
        bad = requests * violation_ratio
        self._latest = None
        for counts in (self._recent, self._all):
            counts.add(ended_at, requests, bad)
        if self._first is None:
            self._first = ended_at - duration_seconds

    def state(self, slo: Slo, now: float) -> BudgetState:
        """The budget now; without a new window as it was up to a bucket's width ago, for it is asked all the time."""
        key = slo, int(now // self._recent.width)
        if self._latest is None or self._latest[0] != key:
            self._latest = key, self._state(slo, now)
        return self._latest[1]

    def _state(self, slo: Slo, now: float) -> BudgetState:
        if self._first is None:
            return BudgetState(rates={name: 0.0 for alarm in ALARMS for name, _ in (alarm.short, alarm.long)})
        rates = {
            name: self._rate(self._recent, seconds * self._scale, slo, now)
            for alarm in ALARMS
            for name, seconds in (alarm.short, alarm.long)
        }
        burning = (a.burn for a in ALARMS if min(rates[a.short[0]], rates[a.long[0]]) >= a.rate)
        return BudgetState(
            remaining_ratio=1 - self._rate(self._all, self._period, slo, now),
            burn=next(burning, Burn.HEALTHY),
            rates=rates,
            known_seconds=min(now - self._first, self._period),
        )

    def _rate(self, counts: _Counts, seconds: float, slo: Slo, now: float) -> float:
        """Burn rate over the last ``seconds``; before the first window requests came at the same pace, and all well."""
        total, bad = counts.since(now - seconds)
        if total <= 0 or self._first is None:
            return 0.0
        known = min(max(now - self._first, 1e-9), seconds)
        return bad / (total * seconds / known) / (1 - slo.target_ratio)
