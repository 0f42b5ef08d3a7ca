"""Probation: a configuration just put in force, and whether it may stay. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from service.control.judge import Judgement, clearly_worse, describe_tail, milliseconds, same_load
from service.control.settings import LoopSettings
from service.domain.histogram import Interval
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window

#: Trials in a row that may each be worse than what they all replaced, while that violated the objective too. Then it is
#: gone back to, and dwelt in: a policy that guesses would else do its worst without a pause when things are bad.
WORSE_IN_A_ROW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Probation:
    """A switch that has not been verified yet.

    Attributes:
        config: What was put in force.
        since: From when on it could be verified, monotonic seconds: what is ordered is renewed when it is in force.
        fallback: What to return to.
        baseline: The last judged window under ``fallback``; None where there was none.
        by_user: Whether a person chose it; then it is judged but never undone.
        promised: The tail that was predicted of it, seconds; None where nothing was.
        worse_before: Trials directly before it, from the same fallback, that were clearly worse.
    """

    config: ServingConfig
    since: float
    fallback: ServingConfig
    baseline: Window | None
    by_user: bool
    promised: Interval | None = None
    worse_before: int = 0


class Outcome(Enum):
    """What becomes of a configuration on probation."""

    KEEP = auto()
    """It stays."""
    RETURN = auto()
    """It is clearly worse than what it replaced: go back."""
    MOVE_ON = auto()
    """It is clearly worse, but what it replaced violated the objective as well: look for a third, else go back."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The outcome and why, as a sentence."""

    outcome: Outcome
    explanation: str


def rule(
    probation: Probation,
    judgement: Judgement,
    slo: Slo,
    settings: LoopSettings,
    *,
    fallback_now: Interval | None = None,
) -> Ruling:
    """Compare the first judged window under a new configuration with the last one before it and with the promise.

    Going back to what violated the objective itself would cost a switch and a window to learn nothing, so there the
    search goes on from here, :data:`WORSE_IN_A_ROW` times, and the better of the two stays the place to return to.

    Args:
        probation: The switch.
        judgement: Of the first window since.
        slo: The objective.
        settings: What counts as worse.
        fallback_now: The tail that ``fallback`` is predicted to have under the load of now; None while unknown. It
            stands in for the window before, where that was measured under another load.
    """
    now = f"{judgement.describe(slo)}{_against(probation.promised, judgement)}"
    baseline = probation.baseline
    if baseline is None:
        return Ruling(Outcome.KEEP, f"{now}; nothing was measured before the switch to compare with")
    if not comparable(probation, judgement, settings):
        before = f"not comparable with before, when the rate was {baseline.workload.rate_per_second:.3g}/s"
        if _lost_what_was_sure(probation, judgement, slo, fallback_now):
            expected = f"{probation.fallback.describe()} is expected to meet the objective under this load too"
            return Ruling(Outcome.RETURN, f"{now}; {before}, but {expected}")
        return Ruling(Outcome.KEEP, f"{now}; {before}")
    before = _describe_before(baseline, slo, settings)
    met_before = baseline.verdict(slo, settings.confidence) is SloVerdict.MET
    lost_it = met_before and judgement.verdict is SloVerdict.VIOLATED
    if not lost_it and not clearly_worse(baseline, judgement.window, slo, settings):
        return Ruling(Outcome.KEEP, f"{now}; {before} before")
    if met_before or judgement.met:
        return Ruling(Outcome.RETURN, f"{now}; clearly worse than {before} before")
    worse = f"{now}; clearly worse than {before} before, which did not meet the objective either"
    if probation.worse_before + 1 >= WORSE_IN_A_ROW:
        return Ruling(Outcome.RETURN, f"{worse}, and so was the trial before")
    return Ruling(Outcome.MOVE_ON, worse)


def comparable(probation: Probation, judgement: Judgement, settings: LoopSettings) -> bool:
    """Whether the window before the switch was measured under about the load of the one after it."""
    return probation.baseline is not None and same_load(probation.baseline, judgement.window, settings)


def _against(promised: Interval | None, judgement: Judgement) -> str:
    """How the measured tail stands to the promise, as the end of a clause."""
    if promised is None or judgement.tail is None:
        return ""
    span = f"{milliseconds(promised.low)}…{milliseconds(promised.high)} ms predicted"
    if judgement.tail.low > promised.high:
        return f", worse than the {span}"
    return f", better than the {span}" if judgement.tail.high < promised.low else f", within the {span}"


def _lost_what_was_sure(probation: Probation, judgement: Judgement, slo: Slo, fallback_now: Interval | None) -> bool:
    """Whether the promise was broken, the objective is violated, and the fallback is sure to meet it."""
    promised, tail = probation.promised, judgement.tail
    broken = promised is not None and (tail is None or tail.low > promised.high)
    sure = fallback_now is not None and fallback_now.high <= slo.bound_seconds
    return broken and judgement.verdict is SloVerdict.VIOLATED and sure


def _describe_before(baseline: Window, slo: Slo, settings: LoopSettings) -> str:
    if not baseline.latency.count:
        return f"{baseline.loss_ratio:.1%} of requests lost"
    lost = f" and {baseline.loss_ratio:.1%} of requests lost" if baseline.loss_ratio > 0 else ""
    return f"{describe_tail(slo, baseline.tail(slo, settings.confidence))}{lost}"
