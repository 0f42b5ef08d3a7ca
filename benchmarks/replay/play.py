"""Playing: one policy, one scenario, one seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain
from service.domain.slo import Slo
from service.learning.policy import Policy
from service.learning.space import ConfigSpace

PolicyFactory = Callable[[ConfigSpace, int], Policy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened.

    Attributes:
        policy: Its name.
        scenario: Its name.
        seed: Of the policy and of the noise.
        path: Index of the configuration in force in each window, shape (w,).
        choice: Index of what the policy would run without exploring, asked after each window, shape (w,).
        seconds: How long each suggestion took, with learning from the window before it, shape (w,).
    """

    policy: str
    scenario: str
    seed: int
    path: NDArray[np.int16]
    choice: NDArray[np.int16]
    seconds: NDArray[np.float32]


def play(
    name: str, factory: PolicyFactory, scenario: Scenario, known: Mapping[str, Terrain], slo: Slo, seed: int
) -> Run:
    """Let a policy choose the configuration of each window from what the windows before showed.

    The noise of a window depends on seed, scenario, load and number of the window alone: all policies meet the same.
    """
    first = known[scenario.schedule[0]]
    position = {config: index for index, config in enumerate(first.configs)}
    policy = factory(first.space, seed)
    config = first.configs[first.start]
    path, choice, seconds = [], [], []
    for number, landscape in enumerate(scenario.schedule):
        replay = known[landscape].replay
        window = replay.window(config, _noise(seed, scenario.name, landscape, number))
        path.append(position[config])
        began = perf_counter()
        policy.observe(window.workload, config, window)
        suggested = policy.suggest(window.workload, config, slo)
        seconds.append(perf_counter() - began)
        exploited = policy.suggest(window.workload, config, slo, explore=False)
        choice.append(position[replay.measured(exploited.config)])
        config = replay.measured(suggested.config)
    return Run(
        policy=name,
        scenario=scenario.name,
        seed=seed,
        path=np.array(path, dtype=np.int16),
        choice=np.array(choice, dtype=np.int16),
        seconds=np.array(seconds, dtype=np.float32),
    )


def _noise(seed: int, scenario: str, landscape: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(scenario.encode()), zlib.crc32(landscape.encode()), number])
