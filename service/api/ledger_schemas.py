"""Ledger schemas: what following the recommendations would have brought, as JSON; like :mod:`service.api.schemas`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.api import examples
from service.api.schemas import ChangeOut, ConfigBody, IntervalOut, SloBody, shown
from service.domain.decision import Reason


class LedgerEntryOut(BaseModel):
    """A recommendation that was not followed, and what was measured meanwhile."""

    model_config = shown(examples.LEDGER_ENTRY)

    decision_id: int | None = Field(description="Number of the decision that said it.")
    decided_at: float = Field(description="When, Unix seconds.")
    reason: Reason = Field(description="Why it was said, as a code.")
    kept: ConfigBody | None = Field(description="What stayed in force; null where unknown.")
    changes: dict[str, ChangeOut] = Field(description="Knobs that following it would have changed.")
    predicted_tail: IntervalOut | None = Field(description="Tail predicted of it, seconds; never measured.")
    windows: int = Field(description="Windows measured under what stayed, until the next decision.")
    violated: int = Field(description="Those that broke the objective.")
    measured_tail: float | None = Field(description="Median of their tails, seconds; null without windows.")
    predicted_gain: float | None = Field(
        description="Share of the measured tail that, by the prediction, would have been saved; negative: lost."
    )


class LedgerOut(BaseModel):
    """What following the recommendations would have brought, by the policy's own predictions."""

    model_config = shown(examples.LEDGER)

    slo: SloBody = Field(description="The objective by which it is told.")
    windows: int = Field(description="Windows measured while recommendations stood.")
    violated: int = Field(description="Those that broke the objective.")
    avoidable: int = Field(
        description="Those that broke it while the recommendation of the moment was predicted to meet it."
    )
    predicted_gain: float | None = Field(description="Median of the entries' predicted gains; null without any.")
    entries: list[LedgerEntryOut] = Field(description="Newest first.")
