"""Deliberation: all that goes into one decision, gathered while it is taken, so that it can be told afterwards."""

from __future__ import annotations

from typing import Any

from service.control.error_budget import BudgetState
from service.control.guardrails import States
from service.control.judge import Judgement
from service.control.situation import Block
from service.domain.decision import Recommendation
from service.domain.slo import Slo


class Deliberation:
    """The ``inputs`` of a decision, JSON-ready.

    Args:
        judgement: What is acted on.
        slo: The objective it is held against.
        budget: The error budget then.
    """

    def __init__(self, judgement: Judgement, slo: Slo, budget: BudgetState) -> None:
        self.inputs: dict[str, Any] = {
            "window": judgement.describe(slo),
            "verdict": judgement.verdict.value,
            "tail": judgement.tail.to_dict() if judgement.tail else None,
            "workload": judgement.window.workload.to_dict(),
            "slo": slo.to_dict(),
            "error_budget": {
                "remaining_ratio": budget.remaining_ratio,
                "burn": budget.burn.value,
                "rates": dict(budget.rates),
            },
            "gates": {},
            "candidates": [],
        }

    def gates(self, states: States) -> None:
        """What the gates said; of one asked several times, the last answer."""
        self.inputs["gates"].update(states)

    def candidate(self, choice: Recommendation, block: Block | None) -> None:
        """A configuration that was considered, and what spoke against it."""
        tail = choice.predicted_tail
        self.inputs["candidates"].append(
            {
                "config": choice.config.to_dict(),
                "intent": choice.intent.value,
                "predicted_tail": tail.to_dict() if tail else None,
                "confidence": choice.confidence,
                "explanation": choice.explanation,
                "refused": block.explanation if block else None,
            }
        )

    def spike(self, seconds: float | None) -> None:
        """What the switch before cost, where that has just become known."""
        if seconds is not None:
            self.inputs["spike_seconds"] = seconds
