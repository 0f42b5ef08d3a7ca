"""Recommendation and Decision: what would be chosen and why; what the loop did, or why it did nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from service.domain.histogram import Interval
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload


class Mode(StrEnum):
    """How much the loop may do for a model."""

    OFF = "off"
    """Observe only."""
    RECOMMEND = "recommend"
    """Say what it would do; never touch the server."""
    AUTO = "auto"
    """Reconfigure the server."""


class Intent(StrEnum):
    """Why a policy names a configuration."""

    EXPLORE = "explore"
    """To learn: it may be better than what is known."""
    EXPLOIT = "exploit"
    """Because it is the best known."""
    STAY = "stay"
    """The incumbent is the best choice."""


class Action(StrEnum):
    """What the loop did. Bounded: used as a metric label."""

    HOLD = "hold"
    """Nothing, for a reason."""
    RECOMMEND = "recommend"
    """Wrote down what it would do."""
    APPLY = "apply"
    """Put a configuration in force."""
    VERIFY = "verify"
    """Judged the configuration just applied and kept it."""
    ROLLBACK = "rollback"
    """Returned to the last known good."""
    MANUAL = "manual"
    """A person set the configuration."""


class Reason(StrEnum):
    """Why. Bounded: used as a metric label; the decision's ``explanation`` says it in a sentence."""

    SLO_VIOLATED = "slo_violated"
    IMPROVEMENT = "improvement"
    EXPLORATION = "exploration"
    LOAD_CHANGED = "load_changed"
    INCUMBENT_BEST = "incumbent_best"
    VERIFIED = "verified"
    WORSE_THAN_BEFORE = "worse_than_before"
    USER = "user"
    MODE_OFF = "mode_off"
    MODE_RECOMMEND = "mode_recommend"
    WINDOW_NOT_READY = "window_not_ready"
    NO_TRAFFIC = "no_traffic"
    NOT_STATIONARY = "not_stationary"
    METRICS_MISSING = "metrics_missing"
    DWELL = "dwell"
    SWITCH_BUDGET_SPENT = "switch_budget_spent"
    BUDGET_BURNING = "budget_burning"
    AGENT_UNREACHABLE = "agent_unreachable"
    APPLY_FAILED = "apply_failed"
    INFEASIBLE = "infeasible"
    CONFIG_CHANGED_OUTSIDE = "config_changed_outside"
    RECONCILED = "reconciled"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL_ERROR = "internal_error"
    LEASE_HELD = "lease_held"
    MAINTENANCE = "maintenance"
    KILL_SWITCH = "kill_switch"
    LEARNING_PERIOD = "learning_period"
    UNSAFE = "unsafe"
    FROZEN = "frozen"
    CANARY = "canary"
    CANARY_WORSE = "canary_worse"

    @property
    def meaning(self) -> str:
        """What it stands for, in a sentence without a full stop."""
        return _MEANINGS[self]


_MEANINGS: dict[Reason, str] = {
    Reason.SLO_VIOLATED: "the objective was violated",
    Reason.IMPROVEMENT: "a configuration already measured promises clearly less latency",
    Reason.EXPLORATION: "an unknown configuration was worth a trial",
    Reason.LOAD_CHANGED: "the load changed, and another configuration suits it better",
    Reason.INCUMBENT_BEST: "nothing better than the configuration in force is known",
    Reason.VERIFIED: "the configuration just applied kept what was promised",
    Reason.WORSE_THAN_BEFORE: "the configuration just applied was clearly worse than the one before",
    Reason.USER: "a person asked for it, or the owner's bounds did",
    Reason.MODE_OFF: "the mode is off",
    Reason.MODE_RECOMMEND: "the mode is recommend, so it was said and not done",
    Reason.WINDOW_NOT_READY: "the window is too short, too empty or too near the bound to be judged yet",
    Reason.NO_TRAFFIC: "no requests arrive",
    Reason.NOT_STATIONARY: "load or latency is moving",
    Reason.METRICS_MISSING: "the server's metrics cannot be read",
    Reason.DWELL: "too soon after the last switch, question or first violation",
    Reason.SWITCH_BUDGET_SPENT: "the hour's switches, or the seconds that switches may cost, are spent",
    Reason.BUDGET_BURNING: "the error budget burns, so nothing unknown is tried",
    Reason.AGENT_UNREACHABLE: "the node's agent does not answer",
    Reason.APPLY_FAILED: "the node could not put it in force, or is still switching",
    Reason.INFEASIBLE: "the node cannot run it, or bounds and pins leave nothing to choose",
    Reason.CONFIG_CHANGED_OUTSIDE: "somebody else changed the configuration",
    Reason.RECONCILED: "the first look at the node since the start",
    Reason.STORE_UNAVAILABLE: "the history cannot be read or written",
    Reason.INTERNAL_ERROR: "the loop itself failed",
    Reason.LEASE_HELD: "another control service steers this node",
    Reason.MAINTENANCE: "a maintenance window of the owner is open",
    Reason.KILL_SWITCH: "the kill switch is on",
    Reason.LEARNING_PERIOD: "the service still learns how the model behaves before it acts on its own",
    Reason.UNSAFE: "the configuration lies outside the safe region",
    Reason.FROZEN: "the error budget burned fast, so nothing unknown is tried for a while",
    Reason.CANARY: "one of several server processes tries a configuration out before the others follow",
    Reason.CANARY_WORSE: "the server process that tried a configuration out did clearly worse than those beside it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What a policy would choose and why.

    Attributes:
        config: The configuration it names.
        intent: To learn, to profit, or to stay.
        explanation: Why, in a sentence.
        workload: The load it is meant for.
        predicted_tail: Predicted latency at the objective's percentile, seconds; None while nothing is known.
        confidence: 0 (a guess) … 1 (measured often and lately).
        acceptable: For each knob the lowest and highest value that, the others unchanged, is predicted to be about as
            good. Missing knobs are unknown.
    """

    config: ServingConfig
    intent: Intent
    explanation: str
    workload: Workload
    predicted_tail: Interval | None = None
    confidence: float = 0.0
    acceptable: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "config": self.config.to_dict(),
            "intent": self.intent.value,
            "explanation": self.explanation,
            "workload": self.workload.to_dict(),
            "predicted_tail": self.predicted_tail.to_dict() if self.predicted_tail else None,
            "confidence": self.confidence,
            "acceptable": {name: list(limits) for name, limits in self.acceptable.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Recommendation:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            config=ServingConfig.from_dict(raw["config"]),
            intent=Intent(raw["intent"]),
            explanation=raw["explanation"],
            workload=Workload.from_dict(raw["workload"]),
            predicted_tail=Interval.from_dict(raw["predicted_tail"]) if raw["predicted_tail"] else None,
            confidence=raw["confidence"],
            acceptable={name: (low, high) for name, (low, high) in raw["acceptable"].items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the loop did at one moment, or why it did nothing.

    Attributes:
        decided_at: Unix time, seconds.
        model: Name of the model.
        mode: The mode in which it was taken.
        action: What was done.
        reason: Why, as a code.
        explanation: Why, as a sentence for people.
        config_before: In force before; None where the agent could not be asked.
        config_after: In force afterwards; equal to ``config_before`` when nothing was done.
        generation: Generation in force afterwards, where known.
        recommendation: What the policy said, where it was asked.
        inputs: What else went in (window summary, gate states), JSON-ready.
        id: Given by the store; None before it is stored.
    """

    decided_at: float
    model: str
    mode: Mode
    action: Action
    reason: Reason
    explanation: str
    config_before: ServingConfig | None = None
    config_after: ServingConfig | None = None
    generation: int | None = None
    recommendation: Recommendation | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    id: int | None = None
