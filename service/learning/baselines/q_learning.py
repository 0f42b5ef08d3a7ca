"""Tabular Q-learning: the state is the configuration in force, an action one step along one axis, or none.

Notation: s state, a action, s' the state it leads to, r reward, A(s) the feasible actions.

    r = score of the window at s − score of the window at s'
    Q(s, a) ← Q(s, a) + α (r + γ max over A(s') of Q(s', ·) − Q(s, a))

The reward is the improvement: what is gained on the way down is lost on the way up, and staying earns nothing. Untried
actions count 0, as much as staying. ε-greedy: with probability ε a random action, where ε falls from
1 to :data:`LEAST_EPSILON` in :data:`EXPLORING` steps. Each step is a window, also one that stays: what is learnt is
what windows showed, and it never ends.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from service.learning.moves import Action, actions, moved
from service.learning.search import Steps, Stepwise
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

#: Step size α.
LEARNING_RATE = 0.5
#: Discount γ.
DISCOUNT = 0.9
#: Share of random actions in the end, ε.
LEAST_EPSILON = 0.05
#: Steps in which ε falls to that.
EXPLORING = 100

#: Axis 0 by no step.
STAY: Action = (0, 0)


def choices(space: ConfigSpace, here: Point) -> dict[Action, Point]:
    """The feasible actions at a point, staying first, and where each leads."""
    found = {STAY: here}
    for action in actions(space):
        there = moved(space, here, *action)
        if there is not None:
            found[action] = there
    return found


def epsilon(step: int) -> float:
    """Share of random actions at a step."""
    return max(1 - step / EXPLORING * (1 - LEAST_EPSILON), LEAST_EPSILON)


def learn(space: ConfigSpace, start: Point, seed: int) -> Steps:
    """The algorithm: yields points, receives scores."""
    rng = np.random.default_rng(seed)
    table: defaultdict[tuple[Point, Action], float] = defaultdict(float)
    here, level = start, (yield start)
    step = 0
    while True:
        possible = choices(space, here)
        names = list(possible)
        values = np.array([table.get((here, action), 0.0) for action in names])
        greedy = np.flatnonzero(values == values.max())
        pick = rng.integers(len(names)) if rng.random() < epsilon(step) else rng.choice(greedy)
        action = names[int(pick)]
        there = possible[action]
        score = yield there
        reward = level - score
        ahead = max(table.get((there, following), 0.0) for following in choices(space, there))
        table[here, action] += LEARNING_RATE * (reward + DISCOUNT * ahead - table[here, action])
        here, level, step = there, score, step + 1


def q_learning(space: ConfigSpace, seed: int = 0) -> Searcher:
    """Q-learning as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the draws.
    """
    return Searcher(
        "q_learning", space, lambda p: Stepwise(p, learn(p.space, p.start, p.seed), remembers=False), seed=seed
    )
