"""What the store gives back."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.decision import Decision, Mode
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
        updated_at: Unix time of the last change, seconds.
    """

    model: str
    slo: Slo | None = None
    mode: Mode | None = None
    incumbent: ServingConfig | None = None
    generation: int | None = None
    last_known_good: ServingConfig | None = None
    intent: Decision | None = None
    updated_at: float = 0.0
