"""Plan: what is still to be measured, from what has been. Pure, so that a recording goes on where it was cut short.

Three stages. Every configuration once, briefly. Then the better ones again and longer, because which of them is best is
what a landscape is for: the best 80 twice as long, of those the best 24 three times as long. Last, two windows three
times as long for each of the 20 best and of 20 others drawn at random, to tell the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.landscape import Kind, Measurement, merged_tails
from benchmarks.record.lattice import in_groups
from service.domain.serving_config import ServingConfig

#: Rounds of the second stage: (configurations, length in windows of the first).
REFINEMENTS = ((80, 2.0), (24, 3.0))
#: Of each sort, best and random.
REPEATED = 20
REPEATS = 2
REPEAT_LENGTH = 3.0


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
    refine: bool = True,
    repeats: int = REPEATS,
) -> list[Visit]:
    """The visits of the stage that is not complete; empty when all are.

    Args:
        configs: The lattice.
        taken: What has been measured.
        rng: Orders the visits and draws the random ones.
        refine: Whether the second stage takes place.
        repeats: Windows of each repeated configuration.
    """
    seen = {m.config for m in taken if m.kind == "lattice"}
    missing = [config for config in configs if config not in seen]
    if missing:
        return [Visit(config, "lattice", 1.0) for config in in_groups(missing, rng)]
    for longer, (count, length) in enumerate(REFINEMENTS if refine else (), start=1):
        done = _count([m for m in taken if m.kind == "refine"])
        best = _best(configs, taken, count)
        # Ranks move as results come in: the round is over when as many as it asks for were looked at again.
        missing = [config for config in best if done.get(config, 0) < longer]
        if sum(1 for n in done.values() if n >= longer) < min(count, len(configs)):
            return [Visit(config, "refine", length) for config in in_groups(missing, rng)]
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
