"""Track: what one model's loop knows beyond what its node, its window and its policy say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from service.control.canary import Canary
from service.control.error_budget import ErrorBudget
from service.control.judge import Judgement
from service.control.probation import Probation
from service.control.situation import BUDGET_SECONDS, Block, Quarantine
from service.control.way_back import WayBack
from service.domain.decision import Mode, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window


@dataclass(slots=True, kw_only=True)
class Track:
    """The loop's memory. Times are monotonic seconds.

    Attributes:
        mode: How much may be done.
        slo: The objective.
        budget: The error budget.
        waiting_since: The last judgement or switch, from which the wait for a verdict counts.
        last_known_good: The newest configuration that met the objective.
        judged: The last judgement, perhaps of the configuration before.
        probation: The switch that is not verified yet.
        canary: What one of several server processes tries out.
        switched_at: When the configuration last changed.
        asked_at: When the policy was last asked and nothing was ordered; None: not since the last order.
        answer: Why nothing was ordered then.
        chosen_by_user: Whether a person chose what is in force.
        recommendation: What the policy said last.
        switches: Moments of the switches of the last hour, oldest first.
        spikes: What switches of the last hour cost, as (moment, seconds), oldest first.
        good_failed: The newest window in which the last known good violated the objective; None when it has not since.
        frozen_until: Until when nothing unknown is tried because the error budget burned fast.
        measured: The newest judgement of each configuration, and when.
        windows_seen: Windows that were ever judged, by earlier runs too.
        first_window_at: When the oldest of them was measured; None before the first.
        learnt: Whether the learning period is over for good: it was skipped, or the loop has acted on its own before.
        quarantine: What is not to be tried, and until when.
        untaught: Configurations put there that the policy has not been told of yet.
        way_back: When the node may be asked again for what it would not return to.
    """

    mode: Mode
    slo: Slo
    budget: ErrorBudget
    waiting_since: float
    last_known_good: ServingConfig | None = None
    judged: Judgement | None = None
    probation: Probation | None = None
    canary: Canary | None = None
    switched_at: float | None = None
    asked_at: float | None = None
    answer: Block | None = None
    chosen_by_user: bool = False
    recommendation: Recommendation | None = None
    switches: list[float] = field(default_factory=list)
    spikes: list[tuple[float, float]] = field(default_factory=list)
    good_failed: Window | None = None
    frozen_until: float = 0.0
    measured: dict[ServingConfig, tuple[float, Judgement]] = field(default_factory=dict)
    windows_seen: int = 0
    first_window_at: float | None = None
    learnt: bool = False
    quarantine: dict[ServingConfig, Quarantine] = field(default_factory=dict)
    untaught: list[ServingConfig] = field(default_factory=list)
    way_back: WayBack = field(default_factory=WayBack)

    def changed(self, now: float, *, by_user: bool, probation: Probation | None) -> None:
        """Another configuration is in force: whatever was measured belongs to the one before."""
        self.switched_at = self.waiting_since = now
        self.asked_at = None
        self.chosen_by_user = by_user
        self.probation = probation
        self.canary = None

    def renew_probation(self, now: float) -> None:
        """What is on probation could not be verified or undone until now, which is no reason to keep it."""
        if self.probation is not None:
            self.probation = replace(self.probation, since=now)

    def spend_switches(self, moments: Iterable[float], now: float) -> None:
        """Count switches against the budget, and drop those that no longer count."""
        self.switches = [at for at in sorted([*self.switches, *moments]) if at > now - BUDGET_SECONDS]

    def spend_spike(self, at: float, seconds: float) -> None:
        """Count what a switch cost, and drop what no longer counts."""
        self.spikes = [(when, cost) for when, cost in [*self.spikes, (at, seconds)] if when > at - BUDGET_SECONDS]

    def note_judgement(self, config: ServingConfig, judgement: Judgement, now: float) -> None:
        """Remember how a configuration did, for as long as it says something of the present."""
        self.measured = {c: (at, j) for c, (at, j) in self.measured.items() if at > now - BUDGET_SECONDS}
        self.measured[config] = (now, judgement)
        if self.first_window_at is None:
            self.first_window_at = now
        if judgement.met:
            self.good_failed = None if config == self.last_known_good else self.good_failed
        elif config == self.last_known_good:
            self.good_failed = judgement.window

    def put_in_quarantine(self, config: ServingConfig, held: Quarantine) -> None:
        """Keep a configuration from being tried, of which no window has shown the policy how it does."""
        self.quarantine[config] = held
        self.untaught.append(config)

    def release_quarantine(self, now: float) -> None:
        """Drop what may be tried again."""
        self.quarantine = {config: held for config, held in self.quarantine.items() if held.until > now}
