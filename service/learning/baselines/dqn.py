"""Deep Q-learning as CAPES tunes storage: a small network values the steps from a configuration; windows train it.

States, actions and rewards are those of :mod:`service.learning.baselines.q_learning`: one step up or down along one
axis, or none. The network maps the configuration's normalised grid coordinates to the value of every action. It learns
from mini-batches of a replay buffer towards r + γ max Q⁻(s', ·), where Q⁻ is a copy of the network that is renewed
every :data:`RENEWAL` steps. CAPES also feeds it dozens of performance indicators; here a load is one search and the
indicators of a configuration are what is sought.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.learning.baselines.q_learning import DISCOUNT, STAY, choices, epsilon
from service.learning.moves import Action, actions
from service.learning.network import Network
from service.learning.search import Steps, Stepwise
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

Array = NDArray[np.float64]

#: Widths of the hidden layers.
HIDDEN = (32, 32)
#: Steps kept for replay.
BUFFER = 1024
#: Rows of a mini-batch.
BATCH = 32
#: Mini-batches after each window.
TRAININGS = 8
#: Steps after which the copy is renewed.
RENEWAL = 10
#: Adam's step.
LEARNING_RATE = 3e-3
#: Rewards are clipped to this, so that a configuration that drowns does not rule the network.
LARGEST_REWARD = 2.0


@dataclass(frozen=True, slots=True)
class _Step:
    here: Point
    action: int
    reward: float
    there: Point


class _Values:
    """The network, its copy and its replay buffer."""

    def __init__(self, space: ConfigSpace, rng: np.random.Generator) -> None:
        self._space = space
        self._rng = rng
        self._scale = np.array([max(len(knob.values) - 1, 1) for knob in space.knobs], dtype=float)
        self.names: tuple[Action, ...] = (STAY, *actions(space))
        self._steps: deque[_Step] = deque(maxlen=BUFFER)
        self._count = 0
        sizes = (len(space.knobs), *HIDDEN, len(self.names))
        self._network = Network(sizes, rng, learning_rate=LEARNING_RATE)
        self._copy = Network(sizes, rng)
        self._copy.copy_from(self._network)

    def greedy(self, here: Point) -> int:
        """The feasible action of highest value."""
        return int(self._masked(self._network, [here])[0].argmax())

    def learn(self, step: _Step) -> None:
        """Keep a step and train."""
        self._steps.append(step)
        self._count += 1
        for _ in range(TRAININGS):
            rows = [self._steps[int(i)] for i in self._rng.integers(len(self._steps), size=BATCH)]
            states = self._states([row.here for row in rows])
            targets = self._network.predict(states)
            ahead = self._masked(self._copy, [row.there for row in rows]).max(axis=1)
            rewards = np.array([row.reward for row in rows])
            targets[np.arange(BATCH), [row.action for row in rows]] = rewards + DISCOUNT * ahead
            self._network.train(states, targets)
        if self._count % RENEWAL == 0:
            self._copy.copy_from(self._network)

    def _states(self, points: list[Point]) -> Array:
        states: Array = np.array(points) / self._scale
        return states

    def _masked(self, network: Network, points: list[Point]) -> Array:
        values = network.predict(self._states(points))
        for row, point in zip(values, points, strict=True):
            feasible = choices(self._space, point)
            row[[name not in feasible for name in self.names]] = -np.inf
        return values


def learn(space: ConfigSpace, start: Point, seed: int) -> Steps:
    """The algorithm: yields points, receives scores."""
    rng = np.random.default_rng(seed)
    values = _Values(space, rng)
    here, level = start, (yield start)
    step = 0
    while True:
        possible = choices(space, here)
        if rng.random() < epsilon(step):
            action = values.names.index(list(possible)[int(rng.integers(len(possible)))])
        else:
            action = values.greedy(here)
        there = possible[values.names[action]]
        score = yield there
        reward = float(np.clip(level - score, -LARGEST_REWARD, LARGEST_REWARD))
        values.learn(_Step(here, action, reward, there))
        here, level, step = there, score, step + 1


def dqn(space: ConfigSpace, seed: int = 0) -> Searcher:
    """Deep Q-learning as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds weights and draws.
    """
    return Searcher("dqn", space, lambda p: Stepwise(p, learn(p.space, p.start, p.seed), remembers=False), seed=seed)
