"""Codec: the domain's values as JSON text and back.

``FORMAT`` numbers the layout. A row with a higher number was written by a newer Regulus and is refused; when the
layout changes, the number grows and reading keeps the older layouts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from service.domain.decision import Action, Decision, Mode, Reason, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.window import Window
from service.domain.workload import Workload
from service.store.records import StoredGuards, StoredQuarantine

FORMAT = 1


def dump(raw: Any) -> str:
    """Compact JSON text.

    Raises:
        ValueError: A number is not finite; JSON has no word for it.
    """
    return json.dumps(raw, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


class NewerFormatError(ValueError):
    """The text was written by a newer Regulus."""


def load(text: str, layout: int) -> dict[str, Any]:
    """Read what :func:`dump` wrote.

    Args:
        text: The JSON text.
        layout: The row's format number.

    Raises:
        NewerFormatError: It was written by a newer Regulus.
        ValueError: It is damaged.
    """
    if layout > FORMAT:
        raise NewerFormatError(f"has format {layout} and this Regulus reads up to {FORMAT}: update Regulus")
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError(f"holds no JSON object but {text[:40]!r}")
    return raw


def observation_to_text(workload: Workload, config: ServingConfig, window: Window) -> str:
    """An observation."""
    return dump({"workload": workload.to_dict(), "config": config.to_dict(), "window": window.to_dict()})


def observation_from_text(text: str, layout: int) -> tuple[Workload, ServingConfig, Window]:
    """Read what :func:`observation_to_text` wrote; errors as of :func:`load`, or of the values."""
    return observation_from_raw(load(text, layout))


def observation_from_raw(raw: Mapping[str, Any]) -> tuple[Workload, ServingConfig, Window]:
    """Read what :func:`observation_to_text` wrote, parsed; errors of the values."""
    return (
        Workload.from_dict(raw["workload"]),
        ServingConfig.from_dict(raw["config"]),
        Window.from_dict(raw["window"]),
    )


def decision_to_text(decision: Decision) -> str:
    """A decision without its id. In ``inputs`` numbers that are not finite become null."""
    return dump(
        {
            "decided_at": decision.decided_at,
            "model": decision.model,
            "mode": decision.mode.value,
            "action": decision.action.value,
            "reason": decision.reason.value,
            "explanation": decision.explanation,
            "config_before": decision.config_before.to_dict() if decision.config_before else None,
            "config_after": decision.config_after.to_dict() if decision.config_after else None,
            "generation": decision.generation,
            "recommendation": decision.recommendation.to_dict() if decision.recommendation else None,
            "inputs": _finite(dict(decision.inputs)),
        }
    )


def decision_from_text(text: str, layout: int, decision_id: int | None) -> Decision:
    """Read what :func:`decision_to_text` wrote; errors as of :func:`load`, or of the values."""
    return decision_from_raw(load(text, layout), decision_id)


def decision_from_raw(raw: Mapping[str, Any], decision_id: int | None) -> Decision:
    """Read what :func:`decision_to_text` wrote, parsed; errors of the values."""
    return Decision(
        decided_at=raw["decided_at"],
        model=raw["model"],
        mode=Mode(raw["mode"]),
        action=Action(raw["action"]),
        reason=Reason(raw["reason"]),
        explanation=raw["explanation"],
        config_before=_config(raw["config_before"]),
        config_after=_config(raw["config_after"]),
        generation=raw["generation"],
        recommendation=Recommendation.from_dict(raw["recommendation"]) if raw["recommendation"] else None,
        inputs=raw["inputs"],
        id=decision_id,
    )


def guards_to_text(guards: StoredGuards) -> str:
    """What guardrails remember."""
    return dump(
        {
            "frozen_until": guards.frozen_until,
            "learnt": guards.learnt,
            "switched_at": guards.switched_at,
            "chosen_by_user": guards.chosen_by_user,
            "spikes": guards.spikes,
            "quarantine": [
                {
                    "config": held.config.to_dict(),
                    "until": held.until,
                    "reason": held.reason.value,
                    "explanation": held.explanation,
                }
                for held in guards.quarantine
            ],
        }
    )


def guards_from_text(text: str, layout: int) -> StoredGuards:
    """Read what :func:`guards_to_text` wrote; errors as of :func:`load`, or of the values."""
    raw = load(text, layout)
    return StoredGuards(
        frozen_until=raw["frozen_until"],
        learnt=raw["learnt"],
        switched_at=raw["switched_at"],
        chosen_by_user=raw["chosen_by_user"],
        spikes=tuple((at, seconds) for at, seconds in raw["spikes"]),
        quarantine=tuple(
            StoredQuarantine(
                config=ServingConfig.from_dict(held["config"]),
                until=held["until"],
                reason=Reason(held["reason"]),
                explanation=held["explanation"],
            )
            for held in raw["quarantine"]
        ),
    )


def _config(raw: Mapping[str, Any] | None) -> ServingConfig | None:
    return None if raw is None else ServingConfig.from_dict(raw)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
