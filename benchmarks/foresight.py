"""Foresight: how often the truth lies in the 90 % interval that the learner gives, of configurations it has not tried.

These are the intervals that people see: in recommendations, in answers to "what if", in the guardrails' own checks.
The learner has seen windows of its own search, as in life, or of configurations drawn at random, as a test wants them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.replay.world import Terrain
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.learning.adaptive_rrl import AdaptiveRRL

#: Configurations asked for at a time; each is a question of its own.
ASKED = 100


def shares_held(terrain: Terrain, slo: Slo, seed: int, steps: Sequence[int], *, own: bool) -> dict[int, float]:
    """Share of the true p99s inside their intervals after each of ``steps`` windows; deterministic by seed.

    Args:
        terrain: The landscape; the first window is of its default configuration.
        slo: What is to be met.
        seed: Of the learner, of the windows and of what is asked.
        steps: Numbers of windows, ascending.
        own: Whether the learner chooses what is tried next; else it is drawn.
    """
    rng = np.random.default_rng(seed)
    replay, policy = terrain.replay, AdaptiveRRL(terrain.space, seed=seed)
    drawn = iter(rng.permutation(len(terrain.configs)).tolist())
    config, seen = terrain.configs[terrain.start], set[ServingConfig]()
    held: dict[int, float] = {}
    for count in range(1, max(steps) + 1):
        window = replay.window(config, rng)
        policy.observe(window.workload, config, window)
        seen.add(config)
        if count in steps:
            held[count] = _share(policy, terrain, slo, seen, rng)
        chosen = policy.suggest(window.workload, config, slo).config if own else terrain.configs[next(drawn)]
        config = replay.measured(chosen)
    return held


def _share(
    policy: AdaptiveRRL, terrain: Terrain, slo: Slo, seen: set[ServingConfig], rng: np.random.Generator
) -> float:
    unseen = [i for i in rng.permutation(len(terrain.configs)).tolist() if terrain.configs[i] not in seen][:ASKED]
    found = []
    for i in unseen:
        interval = policy.predict(terrain.replay.workload, terrain.configs[i], slo).predicted_tail
        # It knows a window at least, so it knows something of every configuration.
        assert interval is not None
        found.append(interval.low <= terrain.tails[i] <= interval.high)
    return float(np.mean(found))
