"""Ledger: what following the recommendations would have brought, held against what was measured without it. Pure.

Nothing here was measured under a recommended configuration: what it would have done is the policy's prediction, and is
called so. What is measured is what the configuration in force did meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from service.domain.decision import Action, Decision
from service.domain.histogram import Interval
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.store.records import StoredObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recommendation that was said and not followed, and what was measured until the next.

    Attributes:
        decision: The recommendation, as written down.
        recommended: The configuration.
        kept: What stayed in force; None where unknown.
        predicted: The tail predicted of the recommendation, seconds; None where nothing was.
        windows: Windows measured under ``kept`` until the next decision that did or said something.
        violated: Those of them that broke the objective by their estimate.
        measured: Median of their tails, seconds; None without windows.
    """

    decision: Decision
    recommended: ServingConfig
    kept: ServingConfig | None
    predicted: Interval | None
    windows: int
    violated: int
    measured: float | None

    @property
    def predicted_gain(self) -> float | None:
        """Share of the measured tail that the prediction says would have been saved; negative for a loss."""
        if self.predicted is None or self.measured is None or self.measured <= 0:
            return None
        return 1 - self.predicted.value / self.measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Entries, newest first, and their sums.

    Attributes:
        entries: Newest first.
        windows: Windows measured while recommendations stood.
        violated: Those that broke the objective.
        avoidable: Those that broke it while the recommendation of the moment was predicted to meet it.
        predicted_gain: Median of the entries' predicted gains; None without any.
    """

    entries: tuple[Entry, ...]
    windows: int
    violated: int
    avoidable: int
    predicted_gain: float | None


def ledger(doings: Sequence[Decision], observations: Sequence[StoredObservation], slo: Slo) -> Ledger:
    """Put recommendations and measurements together.

    Args:
        doings: Decisions that did or said something, in the order of time.
        observations: Windows, in any order; those from before the first decision are left out.
        slo: The objective by which both are told.
    """
    ends = [*(later.decided_at for later in doings[1:]), float("inf")]
    entries = [
        _entry(decision, end, observations, slo)
        for decision, end in zip(doings, ends, strict=False)
        if decision.action is Action.RECOMMEND and decision.recommendation is not None
    ]
    gains = [entry.predicted_gain for entry in entries if entry.predicted_gain is not None]
    return Ledger(
        entries=tuple(reversed(entries)),
        windows=sum(entry.windows for entry in entries),
        violated=sum(entry.violated for entry in entries),
        avoidable=sum(
            entry.violated for entry in entries if entry.predicted and entry.predicted.value <= slo.bound_seconds
        ),
        predicted_gain=median(gains) if gains else None,
    )


def _entry(decision: Decision, end: float, observations: Sequence[StoredObservation], slo: Slo) -> Entry:
    said = decision.recommendation
    if said is None:
        raise ValueError(f"decision {decision.id} recommends nothing")
    kept = decision.config_after
    # A window belongs to the recommendation that stood when it began; the one it rests on ended before it.
    windows = [
        one.window
        for one in observations
        if decision.decided_at <= one.window.started_at + 1e-3 < end and one.config == kept and one.window.latency.count
    ]
    tails = [window.latency.quantile(slo.percentile) for window in windows]
    lost = [window.loss_ratio > 1 - slo.target_ratio for window in windows]
    return Entry(
        decision=decision,
        recommended=said.config,
        kept=kept,
        predicted=said.predicted_tail,
        windows=len(windows),
        violated=sum(tail > slo.bound_seconds or loss for tail, loss in zip(tails, lost, strict=True)),
        measured=median(tails) if tails else None,
    )
