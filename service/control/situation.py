"""Situation: all that the guardrails look at, in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.control.error_budget import BudgetState
from service.control.judge import Judgement
from service.control.safe_region import SafeRegion
from service.control.settings import LoopSettings
from service.domain.decision import Mode, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo

#: The span of the switch budget, seconds.
BUDGET_SECONDS = 3600.0

#: How long a configuration that the node could not run is not tried, seconds: it may have grown by then.
INFEASIBLE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Why a configuration is not to be tried.

    Attributes:
        until: Monotonic time at which it may be tried again, seconds.
        reason: What happened.
        explanation: What happened, as a sentence.
    """

    until: float
    reason: Reason
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A closed gate.

    Attributes:
        reason: Why.
        explanation: Why, as a sentence.
        final: Whether no other choice could pass; else the policy is asked for its best known one.
    """

    reason: Reason
    explanation: str
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a person has allowed, at one moment.

    Attributes:
        mode: How much the loop may do.
        killed: Whether the kill switch is on.
        maintenance: The owner's maintenance window that is open, as written; None when none is.
        learning: What is missing before the loop may act on its own; None when nothing is.
    """

    mode: Mode
    killed: bool = False
    maintenance: str | None = None
    learning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation(Permission):
    """All that the guardrails may look at. Times are monotonic seconds.

    Attributes:
        settings: Limits.
        now: The present moment.
        slo: The objective.
        incumbent: In force.
        judgement: Of the newest window.
        load_changed: Whether the load differs from that of the window judged before.
        first_violation: Whether the window before, under the same configuration and load, met the objective.
        within_bounds: Whether the incumbent is one that the owner's bounds and pins allow.
        switched_at: When the configuration last changed; None: not since this service looks on.
        asked_at: When the policy was last asked in vain; None: not since the last order.
        answer: Why it was in vain; None as above.
        chosen_by_user: Whether a person put the incumbent in force.
        switches: Moments of the switches that still count against the budget.
        quarantine: Configurations not to be tried.
        budget: The error budget.
        frozen_seconds: How much longer nothing unknown is tried because the budget burned fast; 0 when it may be.
        way_back: Whether the last known good is another configuration and is expected to meet the objective now.
        spike_seconds: What switches of the last hour cost.
        region: What experiments keep to; None where nothing is known to be good.
        measured: The newest judgement of each configuration under about this load, within the last hour.
    """

    settings: LoopSettings
    now: float
    slo: Slo
    incumbent: ServingConfig
    judgement: Judgement
    load_changed: bool = False
    first_violation: bool = False
    within_bounds: bool = True
    switched_at: float | None = None
    asked_at: float | None = None
    answer: Block | None = None
    chosen_by_user: bool = False
    switches: tuple[float, ...] = ()
    quarantine: Mapping[ServingConfig, Quarantine] = field(default_factory=dict)
    budget: BudgetState = field(default_factory=BudgetState)
    frozen_seconds: float = 0.0
    way_back: bool = False
    spike_seconds: float = 0.0
    region: SafeRegion | None = None
    measured: Mapping[ServingConfig, Judgement] = field(default_factory=dict)

    @property
    def switches_left(self) -> int:
        """Switches left in this hour's budget."""
        return switches_left(self.switches, self.now, self.settings)

    @property
    def may_explore(self) -> bool:
        """Whether something unknown may be tried: not with the last switches of the budget."""
        return self.mode is not Mode.AUTO or self.switches_left > self.settings.reserved_switches


def switches_left(switches: tuple[float, ...], now: float, settings: LoopSettings) -> int:
    """Switches left in this hour's budget; never negative."""
    spent = sum(1 for at in switches if at > now - BUDGET_SECONDS)
    return max(settings.max_switches_per_hour - spent, 0)


def learning_left(settings: LoopSettings, windows: int, seconds: float | None) -> str | None:
    """What the learning period still wants, as words; None when it is over.

    Args:
        settings: How long it is.
        windows: Judged so far.
        seconds: Since the first of them; None before it.
    """
    seen = seconds or 0.0
    if windows >= settings.learning_windows and seen >= settings.learning_seconds:
        return None
    return f"{windows} of {settings.learning_windows} windows, {seen:.0f} of {settings.learning_seconds:.0f} s"
