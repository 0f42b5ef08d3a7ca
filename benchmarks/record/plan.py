"""Plan: what is still to be measured, from what has been. Pure, so that a recording goes on where it was cut short.

Three stages. Every configuration briefly, in several passes over the whole lattice, because the machine's speed drifts
over minutes: a drift must not make a configuration look better than its neighbours. Then the best 60 again in two
passes, twice as long, because which of them is best is what a landscape is for. Last, windows five times as long for
the 20 best and for 20 others drawn at random: with the passes, they tell the noise and how it falls with the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.landscape import Kind, Measurement, merged_tails
from benchmarks.record.lattice import in_groups
from service.domain.serving_config import ServingConfig

#: Windows of each configuration in the first stage.
PASSES = 2
#: The second stage: configurations, windows of each, and their length in windows of the first stage.
REFINED, REFINE_PASSES, REFINE_LENGTH = 60, 2, 2.0
#: The third stage: configurations of each sort, best and random, and the length.
REPEATED, REPEAT_LENGTH = 20, 5.0
REPEATS = 2


@dataclass(frozen=True, slots=True)
class Visit:
    """One measurement to be taken: what, why, and how long in windows of the first stage."""

    config: ServingConfig
    kind: Kind
    length: float


def next_stage(
    configs: Sequence[ServingConfig],
    taken: Sequence[Measurement],
    rng: np.random.Generator,
    *,
    passes: int = PASSES,
    refine: bool = True,
    repeats: int = REPEATS,
) -> list[Visit]:
    """The visits of the stage that is not complete; empty when all are.

    Args:
        configs: The lattice.
        taken: What has been measured.
        rng: Orders the visits and draws the random ones.
        passes: Windows of each configuration in the first stage.
        refine: Whether the second stage takes place.
        repeats: Windows of each repeated configuration.
    """
    for wanted in range(1, passes + 1):
        done = _count([m for m in taken if m.kind == "lattice"])
        missing = [config for config in configs if done.get(config, 0) < wanted]
        if missing:
            return [Visit(config, "lattice", 1.0) for config in in_groups(missing, rng)]
    for wanted in range(1, REFINE_PASSES + 1) if refine else ():
        done = _count([m for m in taken if m.kind == "refine"])
        # Chosen once, by the first stage: what is measured again must not decide what is measured again.
        best = _best(configs, [m for m in taken if m.kind == "lattice"], REFINED)
        missing = [config for config in best if done.get(config, 0) < wanted]
        if missing:
            return [Visit(config, "refine", REFINE_LENGTH) for config in in_groups(missing, rng)]
    done = _count([m for m in taken if m.kind == "repeat"])
    if repeats and not done:
        best = _best(configs, taken, REPEATED)
        others = [config for config in configs if config not in set(best)]
        drawn = [others[i] for i in rng.permutation(len(others))[:REPEATED]]
        return [Visit(c, "repeat", REPEAT_LENGTH) for _ in range(repeats) for c in in_groups([*best, *drawn], rng)]
    return [Visit(c, "repeat", REPEAT_LENGTH) for c in in_groups([c for c, n in done.items() if n < repeats], rng)]


def _best(configs: Sequence[ServingConfig], taken: Sequence[Measurement], count: int) -> list[ServingConfig]:
    tails = merged_tails(taken, percentile=0.95), merged_tails(taken, percentile=0.99)
    # The p95 beside the p99: after one short look the p99 alone rests on a handful of requests.
    return sorted(configs, key=lambda config: tails[0][config] * tails[1][config])[:count]


def _count(measurements: Sequence[Measurement]) -> dict[ServingConfig, int]:
    counts: dict[ServingConfig, int] = {}
    for measurement in measurements:
        counts[measurement.config] = counts.get(measurement.config, 0) + 1
    return counts
