"""Simulated annealing: a walk that also goes uphill, ever less readily.

A step goes to a random neighbour, one step along one axis. A score higher by d is accepted with probability
exp(−d / T); T falls geometrically from :data:`HOT` to :data:`COLD` with the number of configurations measured. A
configuration met before is answered from memory and costs no window. After the given number of configurations, or when
the walk meets nothing new any more, the best of them is kept.
"""

from __future__ import annotations

import math

import numpy as np

from service.learning.moves import actions, moved
from service.learning.search import TRIALS, Steps, Stepwise
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

#: First temperature: a tail a third worse is accepted about one time in three.
HOT = 0.3
#: Last temperature: below what windows of one configuration differ by.
COLD = 0.02
#: Steps at most for each configuration to measure: bounds a walk among configurations all met before.
STEPS_PER_TRIAL = 20


def anneal(space: ConfigSpace, start: Point, seed: int, trials: int = TRIALS) -> Steps:
    """The algorithm: yields points, receives scores."""
    rng = np.random.default_rng(seed)
    here, level = start, (yield start)
    met = {start}
    for _ in range(STEPS_PER_TRIAL * trials):
        if len(met) >= trials:
            return
        temperature = HOT * (COLD / HOT) ** (len(met) / trials)
        around = [there for axis, by in actions(space) if (there := moved(space, here, axis, by)) is not None]
        if not around:
            return
        there = around[int(rng.integers(len(around)))]
        score = yield there
        met.add(there)
        if score <= level or rng.random() < math.exp((level - score) / temperature):
            here, level = there, score


def annealing(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """Simulated annealing as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the walk.
        trials: Configurations to measure before the best is kept.
    """
    return Searcher("annealing", space, lambda p: Stepwise(p, anneal(p.space, p.start, p.seed, trials)), seed=seed)
