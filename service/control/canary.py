"""Canary: what one server process that tries a configuration out does, against those beside it that do not. Pure.

Each gets the same share of the same requests in the same seconds, so whatever differs is the configuration's doing, not
the load's. Two questions are asked again and again while the trial lasts: does the canary break the objective for a
larger share of its requests, and is its tail longer? What is not certain when the time is over is decided by the
intervals: no harm could be shown, so the rest follows, and the whole node is on probation as after any switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from service.control.judge import describe_tail
from service.control.node import Order
from service.control.settings import LoopSettings
from service.control.shares import share_interval
from service.domain.clock import Clock
from service.domain.histogram import Interval
from service.domain.slo import Slo
from service.domain.window import Window
from service.telemetry.reading import Reading
from service.telemetry.windows import WindowBuilder, WindowSettings

#: Roles of the processes, as the node's metrics name them.
CANARY, CONTROL = "canary", "control"

#: Requests that each other process has answered, from which a canary with less than half as many hangs.
_SILENCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What is tried out.

    Attributes:
        order: What is to come into force.
        generation: The number it has.
        since: When it got its share of the requests, monotonic seconds.
    """

    order: Order
    generation: int
    since: float


class Outcome(Enum):
    """What becomes of a trial."""

    WAIT = auto()
    """It goes on."""
    WITHDRAW = auto()
    """It did clearly worse."""
    GIVE_UP = auto()
    """Nothing could be seen of it."""
    FOLLOW = auto()
    """It did no worse: the rest follows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome and why, as a sentence."""

    outcome: Outcome
    explanation: str


class Beside:
    """Gathers what the canary and its control do, from the readings of the node that both belong to.

    Args:
        settings: How long a trial may take, and what follows a switch and is not counted.
        clock: The same that stamps the readings.
    """

    def __init__(self, settings: LoopSettings, clock: Clock) -> None:
        longest = settings.canary_seconds + settings.max_window_seconds
        window = WindowSettings(
            window_seconds=longest,
            max_window_seconds=longest,
            min_requests=settings.min_requests,
            blanking_seconds=settings.blanking_seconds,
            max_gap_seconds=settings.metrics_stale_seconds,
        )
        self._windows = {role: WindowBuilder(window, clock) for role in (CANARY, CONTROL)}
        for builder in self._windows.values():
            builder.restart("a trial begins")

    def add(self, reading: Reading) -> None:
        """Take the next reading of the node."""
        for role, builder in self._windows.items():
            builder.add(reading.by_role.get(role) or reading.nothing())

    def seen(self) -> tuple[Window, Window] | None:
        """What the canary and the control did so far; None before there are two readings."""
        canary, control = (self._windows[role].current() for role in (CANARY, CONTROL))
        return (canary, control) if canary is not None and control is not None else None


def compare(
    seen: tuple[Window, Window] | None, others: int, elapsed_seconds: float, slo: Slo, settings: LoopSettings
) -> Finding:
    """Hold the canary against its control.

    Args:
        seen: What the canary and those beside it did so far; None where nothing is known yet.
        others: How many are beside it.
        elapsed_seconds: Since the canary got its share.
        slo: The objective.
        settings: How long it takes at most, and how much is seen at least.
    """
    overdue = elapsed_seconds >= settings.canary_seconds
    if seen is None or not (_answered(seen[0]) or _answered(seen[1])):
        nothing = f"no requests within {elapsed_seconds:.0f} s, so nothing was seen of it"
        return Finding(Outcome.GIVE_UP if overdue else Outcome.WAIT, nothing)
    canary, control = seen
    found = f"{_describe(canary, slo, settings)}, against {_describe(control, slo, settings)} beside it"
    share = _answered(control) / others
    if share >= _SILENCE and _answered(canary) < share / 2:
        fewer = f"answered {_answered(canary)} requests where each process beside it answered {share:.0f}"
        return Finding(Outcome.WITHDRAW, fewer)
    if _breaks_more(canary, control, slo):
        return Finding(Outcome.WITHDRAW, f"{found}: it breaks the objective more often")
    counted = min(_answered(canary), _answered(control))
    enough = counted >= settings.min_requests
    if (enough or overdue) and _slower(canary, control, slo, settings):
        return Finding(Outcome.WITHDRAW, f"{found}: it is slower")
    if enough and elapsed_seconds >= settings.window_seconds and not _perhaps_slower(canary, control, slo, settings):
        return Finding(Outcome.FOLLOW, f"{found}: no worse")
    if overdue:
        unsure = f"not certain after {elapsed_seconds:.0f} s, but no harm could be shown"
        return Finding(Outcome.FOLLOW, f"{found}: {unsure}")
    return Finding(Outcome.WAIT, found)


def _answered(window: Window) -> int:
    return window.succeeded + window.rejected + window.failed


def _describe(window: Window, slo: Slo, settings: LoopSettings) -> str:
    tail = describe_tail(slo, window.tail(slo, settings.confidence)) if window.latency.count else "no success"
    lost = f", {window.loss_ratio:.1%} lost" if window.loss_ratio > 0 else ""
    return f"{tail}{lost} in {_answered(window)} requests"


def _breaks_more(canary: Window, control: Window, slo: Slo) -> bool:
    """Whether more of the canary's requests break the objective for certain, and more than it allows."""
    ours, theirs = _share(canary, slo), _share(control, slo)
    return ours.low > theirs.high and ours.value > 1 - slo.target_ratio


def _share(window: Window, slo: Slo) -> Interval:
    """The share of requests that broke the objective, with Wilson's interval."""
    return share_interval(window.violation_ratio(slo), _answered(window))


def _slower(canary: Window, control: Window, slo: Slo, settings: LoopSettings) -> bool:
    """Whether the canary's tail is longer for certain, and by more than a switch would be worth."""
    if not canary.latency.count or not control.latency.count:
        return False
    ours, theirs = canary.tail(slo, settings.confidence), control.tail(slo, settings.confidence)
    return ours.low > theirs.high and ours.value > theirs.value * (1 + settings.min_improvement_ratio)


def _perhaps_slower(canary: Window, control: Window, slo: Slo, settings: LoopSettings) -> bool:
    """Whether the estimate says so."""
    if not canary.latency.count or not control.latency.count:
        return True
    worst = control.tail(slo, settings.confidence).value * (1 + settings.min_improvement_ratio)
    return canary.tail(slo, settings.confidence).value > worst


def inputs_of(seen: tuple[Window, Window] | None, finding: Finding) -> dict[str, Any]:
    """What a decision keeps of a trial, JSON-ready."""
    if seen is None:
        return {"canary": {"finding": finding.explanation}}
    windows = {role: window.to_dict() for role, window in zip((CANARY, CONTROL), seen, strict=True)}
    return {"canary": {"finding": finding.explanation, **windows}}
