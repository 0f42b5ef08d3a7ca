"""Ablations: the service's policy with one part taken out, to see what that part brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.replay.play import PolicyFactory
from service.learning.adaptive_rrl import AdaptiveRRL, Tuning
from service.learning.policy import Policy
from service.learning.space import ConfigSpace

#: Name of the variant → what differs from the default tuning.
VARIANTS: Mapping[str, Mapping[str, Any]] = {}


def _variant(changes: Mapping[str, Any]) -> PolicyFactory:
    def factory(space: ConfigSpace, seed: int) -> Policy:
        return AdaptiveRRL(space, seed=seed, tuning=Tuning(**changes))

    return factory


ABLATIONS: Mapping[str, PolicyFactory] = {name: _variant(changes) for name, changes in VARIANTS.items()}
