"""Judging a window: may it be judged yet, what does it say of the objective, is it worse than another. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from service.control.settings import LoopSettings
from service.control.shares import share_interval
from service.domain.decision import Reason
from service.domain.histogram import Interval
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window, WindowQuality
from service.telemetry.stationarity import Stationarity, Trend

#: Standard errors by which two rates must differ, besides ``load_change_ratio``, to be called different.
RATE_SIGMAS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A window that was judged.

    Attributes:
        window: What it rests on; marked usable, because it was found to be.
        verdict: What is certain.
        tail: The objective's percentile, seconds; None when no request succeeded.
        met: ``verdict`` where it is certain, else what the estimate says: to act on.
    """

    window: Window
    verdict: SloVerdict
    tail: Interval | None
    met: bool

    def describe(self, slo: Slo) -> str:
        """For people: ``p99 83 ms (78…91) against 50 ms at 120 requests/s``."""
        per_second = self.window.workload.rate_per_second
        rate = f"at {per_second:.3g} requests/s" if per_second < 1000 else f"at {per_second:.0f} requests/s"
        lost = f", {self.window.loss_ratio:.1%} of requests lost" if self.window.loss_ratio > 0 else ""
        if self.tail is None:
            return f"no request succeeded {rate}{lost}"
        return f"{describe_tail(slo, self.tail)} against {milliseconds(slo.bound_seconds)} ms {rate}{lost}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """A window that may not be judged yet.

    Attributes:
        reason: Why.
        explanation: Why, as a sentence.
        rebase: Whether its older half belongs to another state of affairs and should be dropped.
    """

    reason: Reason
    explanation: str
    rebase: bool = False


def judge(
    window: Window | None, stationarity: Stationarity, slo: Slo, settings: LoopSettings, *, waited_seconds: float
) -> Judgement | NotYet:
    """What the window gathered so far says of the objective, if it may be asked.

    A violation that is certain is judged early, to end the damage of a bad choice, unless the latency is falling: then
    a backlog from before drains, and the configuration deserves to be seen without it. A tail too near the bound is
    waited for, for a while.

    Args:
        window: Gathered so far; None when there is none.
        stationarity: What moved within it.
        slo: The objective.
        settings: How long and how full it must be.
        waited_seconds: Time since the last judgement or switch, seconds.
    """
    if window is None:
        return NotYet(reason=Reason.WINDOW_NOT_READY, explanation="no window yet: just started or just switched")
    if window.quality is WindowQuality.NO_TRAFFIC:
        return NotYet(reason=Reason.NO_TRAFFIC, explanation="no requests arrive, so there is nothing to judge")
    requests = _answered(window)
    if requests < settings.min_requests:
        return NotYet(
            reason=Reason.WINDOW_NOT_READY, explanation=f"{requests} of {settings.min_requests} requests seen so far"
        )
    verdict = window.verdict(slo, settings.confidence)
    violated = verdict is SloVerdict.VIOLATED and window.duration_seconds >= settings.early_window_seconds
    overdue = waited_seconds >= settings.window_seconds + settings.certainty_seconds
    judgeable = violated or window.quality is not WindowQuality.TOO_SHORT
    if judgeable and stationarity.rate is not Trend.STEADY and not overdue:
        return NotYet(
            reason=Reason.NOT_STATIONARY,
            explanation=f"the load is {stationarity.rate.value}; what was before is dropped",
            rebase=True,
        )
    if violated and (overdue or stationarity.latency is not Trend.FALLING):
        return conclude(window, slo, settings)
    if window.quality is WindowQuality.TOO_SHORT:
        return NotYet(
            reason=Reason.WINDOW_NOT_READY,
            explanation=f"{window.duration_seconds:.1f} of {settings.window_seconds:g} s seen so far",
        )
    if window.quality is WindowQuality.NOT_STATIONARY and not overdue:
        return NotYet(
            reason=Reason.NOT_STATIONARY,
            explanation=f"the latency is {stationarity.latency.value}; what was before is dropped",
            rebase=True,
        )
    if verdict is SloVerdict.UNCERTAIN and not overdue:
        tail = window.tail(slo, settings.confidence)
        return NotYet(
            reason=Reason.WINDOW_NOT_READY,
            explanation=f"{describe_tail(slo, tail)} is too near {milliseconds(slo.bound_seconds)} ms to tell yet",
        )
    return conclude(window, slo, settings)


def conclude(window: Window, slo: Slo, settings: LoopSettings) -> Judgement:
    """What a window says of the objective, once it may be asked."""
    verdict = window.verdict(slo, settings.confidence)
    tail = window.tail(slo, settings.confidence) if window.latency.count else None
    met = verdict is SloVerdict.MET or (
        verdict is SloVerdict.UNCERTAIN and tail is not None and tail.value <= slo.bound_seconds
    )
    return Judgement(window=replace(window, quality=WindowQuality.GOOD), verdict=verdict, tail=tail, met=met)


def same_load(one: Window, other: Window, settings: LoopSettings) -> bool:
    """Whether two windows were measured under about the same load.

    Rates differ when they are further apart than ``load_change_ratio`` and than chance explains: a rate counted over
    n arrivals with coefficient of variation c has a relative standard error of about c/√n.
    """
    first, second = one.workload, other.workload
    noise = math.hypot(*(_relative_error(window) for window in (one, other)))
    tolerance = math.log1p(settings.load_change_ratio)
    return (
        _log_ratio(first.rate_per_second, second.rate_per_second) <= max(tolerance, RATE_SIGMAS * noise)
        and _log_ratio(first.examples_per_request, second.examples_per_request) <= tolerance
    )


def _relative_error(window: Window) -> float:
    arrivals = max(_answered(window), 1)
    return max(window.workload.cv, 1.0) / math.sqrt(arrivals)


def _log_ratio(a: float, b: float) -> float:
    if a == b:
        return 0.0
    return abs(math.log(a / b)) if a > 0 and b > 0 else math.inf


def clearly_worse(before: Window, after: Window, slo: Slo, settings: LoopSettings) -> bool:
    """Whether ``after`` is worse beyond doubt.

    That is, it loses more than the objective allows where ``before`` did not, or clearly more than ``before`` where
    both do. Where neither does, the intervals of the tails do not touch and the tails differ by more than
    ``min_improvement_ratio``: at a high rate the intervals are so narrow that any two windows differ. The tails of
    windows that lose too much are not compared: whoever refuses half of the requests has the other half answered fast.
    """
    allowed = 1 - slo.target_ratio
    if after.loss_ratio > allowed:
        return before.loss_ratio <= allowed or _loses_more(before, after, settings)
    if before.loss_ratio > allowed:
        return False
    if before.latency.count == 0 or after.latency.count == 0:
        return after.latency.count == 0 < before.latency.count
    was, now = before.tail(slo, settings.confidence), after.tail(slo, settings.confidence)
    return now.low > was.high and now.value > was.value * (1 + settings.min_improvement_ratio)


def _answered(window: Window) -> int:
    return window.succeeded + window.rejected + window.failed


def _loses_more(before: Window, after: Window, settings: LoopSettings) -> bool:
    was, now = (share_interval(window.loss_ratio, _answered(window)) for window in (before, after))
    return now.low > was.high and now.value > was.value * (1 + settings.min_improvement_ratio)


def milliseconds(seconds: float) -> str:
    """Three significant digits, no exponent below a million."""
    if not math.isfinite(seconds):
        return "∞"
    return f"{seconds * 1000:.3g}" if seconds < 1 else f"{seconds * 1000:.0f}"


def describe_tail(slo: Slo, tail: Interval) -> str:
    """For people: ``p99 83 ms (78…91)``."""
    span = f"{milliseconds(tail.low)}…{milliseconds(tail.high)}"
    return f"p{slo.percentile * 100:g} {milliseconds(tail.value)} ms ({span})"
