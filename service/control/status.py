"""ModelStatus: everything there is to know of one model's loop at one moment, for API, CLI and dashboards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.backends.protocol import BackendPhase, Support
from service.control.error_budget import BudgetState
from service.control.situation import Permission, Quarantine
from service.domain.decision import Decision, Mode, Reason, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window
from service.domain.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A snapshot; immutable.

    Attributes:
        name: Name of the model.
        mode: How much the loop may do.
        slo: The objective.
        config: In force; None before the agent has answered once.
        generation: Number of that configuration; None as above.
        in_force_since: Unix time at which it was put in force, or first seen; None as above.
        phase: What the node was doing when last asked.
        last_known_good: The newest configuration that met the objective; None until one has.
        verifying: Whether the configuration in force is still on probation after a switch.
        window: The stretch being gathered now, whatever its quality; None before the second reading.
        judged: The last window that was judged.
        verdict: What ``judged`` said of the objective; None before the first, and after the objective was changed.
        workload: The present load: of ``window`` where it has traffic, else of ``judged``.
        recommendation: What the policy said last.
        last_decision: The newest decision that did or recommended something; None before the first.
        hold: Why nothing is being done, and all that went into it; None right after something was.
        permission: What a person allows: mode, kill switch, maintenance, learning period.
        error_budget: The error budget and how fast it burns.
        frozen_seconds: How much longer nothing unknown is tried because the budget burned fast; 0 when it may be.
        spike_seconds: Seconds of high latency that switches have cost within the hour.
        spike_seconds_allowed: How many they may.
        quarantine: What is not to be tried; ``until`` is Unix time here.
        agent_reachable: Whether the agent answered the last question; False before the first.
        metrics_age_seconds: Age of the newest reading; None before the first.
        observations: Windows the policy has learnt from, replayed ones included.
        switches_left: Switches left in this hour's budget.
        support: What the node can do; None before the agent has answered.
        knobs: The values the policy may choose from, for each knob; empty before the agent has answered.
        server_kind: Which server the node runs; "unknown" before the agent has answered.
        server_version: Its version, likewise.
        problem: What is wrong with this loop, in a sentence; None when nothing is.
    """

    name: str
    mode: Mode
    slo: Slo
    config: ServingConfig | None = None
    generation: int | None = None
    in_force_since: float | None = None
    phase: BackendPhase | None = None
    last_known_good: ServingConfig | None = None
    verifying: bool = False
    window: Window | None = None
    judged: Window | None = None
    verdict: SloVerdict | None = None
    workload: Workload | None = None
    recommendation: Recommendation | None = None
    last_decision: Decision | None = None
    hold: Decision | None = None
    permission: Permission
    error_budget: BudgetState = field(default_factory=BudgetState)
    frozen_seconds: float = 0.0
    spike_seconds: float = 0.0
    spike_seconds_allowed: float = 0.0
    quarantine: Mapping[ServingConfig, Quarantine] = field(default_factory=dict)
    agent_reachable: bool = False
    metrics_age_seconds: float | None = None
    observations: int = 0
    switches_left: int = 0
    support: Support | None = None
    knobs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    server_kind: str = "unknown"
    server_version: str = "unknown"
    problem: str | None = None

    @property
    def hold_reason(self) -> Reason | None:
        """Why nothing is being done, as a code."""
        return self.hold.reason if self.hold else None

    @property
    def hold_explanation(self) -> str | None:
        """The same as a sentence."""
        return self.hold.explanation if self.hold else None
