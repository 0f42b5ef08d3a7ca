"""What the store gives back."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.decision import Decision, Mode, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObservation:
    """A window that was measured under a configuration.

    Attributes:
        id: Grows with each observation of the store.
        model: The model.
        observed_at: Unix time at which the window ended, seconds.
        workload: The load it was measured under.
        config: The configuration it was measured under.
        window: What it showed.
    """

    id: int
    model: str
    observed_at: float
    workload: Workload
    config: ServingConfig
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuarantine:
    """A configuration that is not to be tried.

    Attributes:
        config: The configuration.
        until: Unix time from which it may be tried again, seconds.
        reason: What happened.
        explanation: What happened, as a sentence.
    """

    config: ServingConfig
    until: float
    reason: Reason
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGuards:
    """What a model's guardrails must not forget and no row of the history tells. Times are Unix time, seconds.

    Attributes:
        frozen_until: Until when nothing unknown is tried because the error budget burned fast.
        learnt: Whether the learning period is over for good.
        switched_at: When the configuration last changed, whoever changed it; None: not while anybody looked on.
        chosen_by_user: Whether a person chose what is in force since then.
        spikes: What switches of the last hour cost, as (moment, seconds), oldest first.
        quarantine: What is not to be tried.
    """

    frozen_until: float = 0.0
    learnt: bool = False
    switched_at: float | None = None
    chosen_by_user: bool = False
    spikes: tuple[tuple[float, float], ...] = ()
    quarantine: tuple[StoredQuarantine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """What is remembered of a model besides its history. None: never stored.

    Attributes:
        model: The model.
        slo: Its objective.
        mode: How much the loop may do.
        incumbent: The configuration last known to be in force.
        generation: That configuration's generation.
        last_known_good: The newest configuration that met the objective.
        intent: The change that was about to be ordered and of which no result was written since; no id.
        guards: What its guardrails remember.
        updated_at: Unix time of the last change, seconds.
    """

    model: str
    slo: Slo | None = None
    mode: Mode | None = None
    incumbent: ServingConfig | None = None
    generation: int | None = None
    last_known_good: ServingConfig | None = None
    intent: Decision | None = None
    guards: StoredGuards | None = None
    updated_at: float = 0.0
