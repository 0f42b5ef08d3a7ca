"""TakeBack: what a node returned from by itself, because its servers crashed again and again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from service.backends.protocol import BackendState
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig

#: Most characters of the node's reason that are passed on.
_MAX_WHY_CHARS = 500


@dataclass(frozen=True, slots=True)
class TakeBack:
    """What was taken back, and why, as the node says it."""

    config: ServingConfig
    why: str


def taken_back(state: BackendState) -> TakeBack | None:
    """What the node took back to come to what is in force now; None where that came about otherwise.

    An agent tells of its last take-back for ever; only the configuration that directly follows it is its outcome. Not
    every agent tells, and one that makes no sense is not believed.
    """
    raw = state.details.get("taken_back")
    if not isinstance(raw, dict):
        return None
    generation, why = raw.get("generation"), raw.get("why")
    if not isinstance(generation, int) or isinstance(generation, bool) or generation + 1 != state.generation:
        return None
    try:
        config = ServingConfig.from_dict(raw["config"])
    except (InvalidValueError, KeyError, ValueError, TypeError, AttributeError):
        return None
    if config == state.config:
        return None
    return TakeBack(config, why[:_MAX_WHY_CHARS] if isinstance(why, str) and why else "it does not say more")
