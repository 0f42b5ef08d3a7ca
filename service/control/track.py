"""Track: what one model's loop knows beyond what its node, its window and its policy say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.control.guardrails import BUDGET_SECONDS, Block, Quarantine
from service.control.judge import Judgement
from service.control.probation import Probation
from service.domain.decision import Mode, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo


@dataclass(slots=True, kw_only=True)
class Track:
    """The loop's memory. Times are monotonic seconds.

    Attributes:
        mode: How much may be done.
        slo: The objective.
        waiting_since: The last judgement or switch, from which the wait for a verdict counts.
        last_known_good: The newest configuration that met the objective.
        judged: The last judgement, perhaps of the configuration before.
        probation: The switch that is not verified yet.
        switched_at: When the configuration last changed.
        asked_at: When the policy was last asked and nothing was ordered; None: not since the last order.
        answer: Why nothing was ordered then.
        chosen_by_user: Whether a person chose what is in force.
        recommendation: What the policy said last.
        switches: Moments of the switches of the last hour, oldest first.
        quarantine: What is not to be tried, and until when.
        untaught: Configurations put there that the policy has not been told of yet.
    """

    mode: Mode
    slo: Slo
    waiting_since: float
    last_known_good: ServingConfig | None = None
    judged: Judgement | None = None
    probation: Probation | None = None
    switched_at: float | None = None
    asked_at: float | None = None
    answer: Block | None = None
    chosen_by_user: bool = False
    recommendation: Recommendation | None = None
    switches: list[float] = field(default_factory=list)
    quarantine: dict[ServingConfig, Quarantine] = field(default_factory=dict)
    untaught: list[ServingConfig] = field(default_factory=list)

    def changed(self, now: float, *, by_user: bool, probation: Probation | None) -> None:
        """Another configuration is in force: whatever was measured belongs to the one before."""
        self.switched_at = self.waiting_since = now
        self.asked_at = None
        self.chosen_by_user = by_user
        self.probation = probation

    def spend_switches(self, moments: Iterable[float], now: float) -> None:
        """Count switches against the budget, and drop those that no longer count."""
        self.switches = [at for at in sorted([*self.switches, *moments]) if at > now - BUDGET_SECONDS]

    def put_in_quarantine(self, config: ServingConfig, held: Quarantine) -> None:
        """Keep a configuration from being tried."""
        self.quarantine[config] = held
        self.untaught.append(config)

    def release_quarantine(self, now: float) -> None:
        """Drop what may be tried again."""
        self.quarantine = {config: held for config, held in self.quarantine.items() if held.until > now}
