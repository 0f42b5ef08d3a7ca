"""Probation: a configuration just put in force, and whether it may stay. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from service.control.judge import Judgement, clearly_worse, describe_tail, same_load
from service.control.settings import LoopSettings
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Probation:
    """A switch that has not been verified yet.

    Attributes:
        config: What was put in force.
        since: When, monotonic seconds.
        fallback: What to return to.
        baseline: The last judged window under ``fallback``; None where there was none.
        by_user: Whether a person chose it; then it is judged but never undone.
    """

    config: ServingConfig
    since: float
    fallback: ServingConfig
    baseline: Window | None
    by_user: bool


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


def rule(probation: Probation, judgement: Judgement, slo: Slo, settings: LoopSettings) -> Ruling:
    """Compare the first judged window under a new configuration with the last one before it.

    Going back to what violated the objective itself would cost a switch and a window to learn nothing, so there the
    search goes on from here, and the better of the two stays the place to return to.
    """
    now = judgement.describe(slo)
    baseline = probation.baseline
    if baseline is None:
        return Ruling(Outcome.KEEP, f"{now}; nothing was measured before the switch to compare with")
    if not same_load(baseline, judgement.window, settings):
        return Ruling(
            Outcome.KEEP,
            f"{now}; not comparable with before, when the rate was {baseline.workload.rate_per_second:.3g}/s",
        )
    before = _describe_before(baseline, slo, settings)
    met_before = baseline.verdict(slo, settings.confidence) is SloVerdict.MET
    lost_it = met_before and judgement.verdict is SloVerdict.VIOLATED
    if not lost_it and not clearly_worse(baseline, judgement.window, slo, settings):
        return Ruling(Outcome.KEEP, f"{now}; {before} before")
    if met_before or judgement.met:
        return Ruling(Outcome.RETURN, f"{now}; clearly worse than {before} before")
    return Ruling(
        Outcome.MOVE_ON, f"{now}; clearly worse than {before} before, which did not meet the objective either"
    )


def _describe_before(baseline: Window, slo: Slo, settings: LoopSettings) -> str:
    if not baseline.latency.count:
        return f"{baseline.loss_ratio:.1%} of requests lost"
    lost = f" and {baseline.loss_ratio:.1%} of requests lost" if baseline.loss_ratio > 0 else ""
    return f"{describe_tail(slo, baseline.tail(slo, settings.confidence))}{lost}"
