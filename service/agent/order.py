"""Order: the body of a PUT, read and judged. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from service.agent.problems import ProblemError, invalid
from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig

DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_TIMEOUT_SECONDS = 3600.0

_FIELDS = ("canary", "config", "force", "generation", "timeout_seconds")


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants.

    Attributes:
        generation: The number of the configuration.
        config: The configuration.
        timeout_seconds: When to give up.
        force: Whether to do it although another controller holds the lease.
        canary: Whether one of several server processes is to try it out.
    """

    generation: int
    config: ServingConfig
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    force: bool = False
    canary: bool = False


def read_order(body: bytes, bounds: Mapping[str, tuple[int, int]]) -> Order:
    """Read an order.

    Fields of the configuration that are missing take TensorFlow Serving's defaults, not the values in force.

    Args:
        body: JSON.
        bounds: Lowest and highest value of each knob on this node.

    Raises:
        ProblemError: 400: not a JSON object; 422: a field is missing, unknown or not allowed, named in ``errors``.
    """
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "Malformed JSON", f"The body is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ProblemError(400, "Malformed JSON", "The body must be a JSON object.")
    for name in raw:
        if name not in _FIELDS:
            raise invalid(name, f"is not a field; fields are {', '.join(_FIELDS)}")
    generation = raw.get("generation")
    if isinstance(generation, bool) or not isinstance(generation, int) or generation < 0:
        raise invalid("generation", f"must be a whole number ≥ 0, not {generation!r}")
    force, canary = (_truth(name, raw.get(name, False)) for name in ("force", "canary"))
    config = _config(raw.get("config"), bounds)
    return Order(generation, config, _timeout(raw.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS)), force, canary)


def _config(raw: object, bounds: Mapping[str, tuple[int, int]]) -> ServingConfig:
    if not isinstance(raw, dict):
        raise invalid("config", f"must be an object of knobs, not {raw!r}")
    try:
        config = ServingConfig.from_dict(raw)
    except InfeasibleConfigError as error:
        raise invalid(f"config.{error.field}", error.message) from None
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise invalid(f"config.{name}", f"must lie between {low} and {high} on this node, not {value}")
    return config


def _truth(name: str, raw: object) -> bool:
    if not isinstance(raw, bool):
        raise invalid(name, f"must be true or false, not {raw!r}")
    return raw


def _timeout(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not math.isfinite(raw):
        raise invalid("timeout_seconds", f"must be a number of seconds, not {raw!r}")
    if not 0 < raw <= MAX_TIMEOUT_SECONDS:
        raise invalid("timeout_seconds", f"must lie between 0 and {MAX_TIMEOUT_SECONDS:g}, not {raw!r}")
    return float(raw)
