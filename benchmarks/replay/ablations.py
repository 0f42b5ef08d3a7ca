"""Ablations: the service's policy with one part taken out, to see what that part brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.replay.play import PolicyFactory
from service.learning.adaptive_rrl import AdaptiveRRL, Tuning
from service.learning.policy import Policy
from service.learning.space import ConfigSpace

#: Kinds of scenario that variants are run under: one load, and one that comes back.
ABLATION_KINDS = ("stationary", "return")

#: Name of the variant → what differs from the default tuning.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "without_regions": {"region": "whole"},
    "fixed_radius": {"region": "fixed"},
    "radius_by_bo": {"region": "by_bo"},
    "knowledge_gradient": {"gain": "knowledge_gradient"},
    "without_performance_model": {"performance_model": False},
    "without_context": {"context": False},
    "free_switches": {"switch_gain": 0.0, "switch_cost": 0.0},
}


def _variant(changes: Mapping[str, Any]) -> PolicyFactory:
    def factory(space: ConfigSpace, seed: int) -> Policy:
        return AdaptiveRRL(space, seed=seed, tuning=Tuning(**changes))

    return factory


ABLATIONS: Mapping[str, PolicyFactory] = {name: _variant(changes) for name, changes in VARIANTS.items()}
