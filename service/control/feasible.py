"""What a node can run, within what its owner allows. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from service.backends.protocol import Support
from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.learning.space import BATCHING_OFF, KNOB_NAMES, ConfigSpace, default_space

#: Knobs without effect while batching is off.
_BATCHING_KNOBS = frozenset({"max_batch_size", "batch_timeout_micros", "num_batch_threads"})


def node_space(
    support: Support,
    incumbent: ServingConfig,
    bounds: Mapping[str, tuple[int, int]],
    pinned: Mapping[str, int],
) -> ConfigSpace:
    """What may be chosen: what the node can do, within the owner's limits.

    A knob that the node cannot change keeps its value. A node that allows batches of one allows batching off.

    Raises:
        InvalidValueError: Nothing is left to choose for a knob; names it.
    """
    limits: dict[str, tuple[int, int]] = dict(bounds)
    kept: dict[str, int] = dict(pinned)
    for knob, (low, high) in support.bounds.items():
        if knob not in KNOB_NAMES:
            continue
        lowest = BATCHING_OFF if knob == "max_batch_size" and low <= 1 else low
        own_low, own_high = limits.get(knob, (lowest, high))
        limits[knob] = (max(lowest, own_low), min(high, own_high))
    for knob, value in fixed_knobs(support, incumbent).items():
        limits[knob] = (value, value)
        kept[knob] = value
    return default_space(support.cpus, limits, kept)


def fixed_knobs(support: Support, incumbent: ServingConfig) -> dict[str, int]:
    """The knobs that the node cannot change, and their values."""
    return {knob: value for knob, value in _values(incumbent).items() if knob not in support.bounds}


def within_limits(config: ServingConfig, bounds: Mapping[str, tuple[int, int]], pinned: Mapping[str, int]) -> bool:
    """Whether the owner of the model allows a configuration."""
    for knob, value in _values(config).items():
        if not config.enable_batching and knob in _BATCHING_KNOBS - {"max_batch_size"}:
            continue
        low, high = bounds.get(knob, (value, value))
        if not low <= value <= high or pinned.get(knob, value) != value:
            return False
    return True


def check_supported(config: ServingConfig, support: Support, incumbent: ServingConfig) -> None:
    """Refuse what the node has said that it cannot run.

    Raises:
        InfeasibleConfigError: A knob is outside what the node supports, or cannot be changed there; names it.
    """
    before = _values(incumbent)
    for knob, value in _values(config).items():
        if knob not in support.bounds:
            if value != before[knob]:
                raise InfeasibleConfigError(knob, f"cannot be changed on this node; it stays {before[knob]}")
            continue
        low, high = support.bounds[knob]
        without_effect = not config.enable_batching and knob in _BATCHING_KNOBS
        if not without_effect and not low <= value <= high:
            raise InfeasibleConfigError(knob, f"must lie between {low} and {high} on this node, not {value}")


def _values(config: ServingConfig) -> dict[str, int]:
    """Knob values; ``max_batch_size`` 0 means batching off."""
    return {
        knob: BATCHING_OFF if knob == "max_batch_size" and not config.enable_batching else int(getattr(config, knob))
        for knob in KNOB_NAMES
    }
