"""Task: one policy under one scenario with a few seeds; the piece that a worker does and that is resumed or skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks import landscape
from benchmarks.replay import fingerprint, results
from benchmarks.replay.play import play
from benchmarks.replay.policies import factory_of, module_of
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain, objective, terrain

_T = TypeVar("_T")

#: Seeds of a task. They are counted in whole tasks, so that more seeds leave the earlier tasks as they are.
SEEDS_PER_TASK = 5


@dataclass(frozen=True, slots=True)
class Task:
    """What to do and where the result goes.

    Attributes:
        policy: Its name.
        scenario: What it meets.
        seeds: One run each.
        landscapes: Folder of the landscapes.
        file: Of the result; its name holds the fingerprint of all that the result depends on.
    """

    policy: str
    scenario: Scenario
    seeds: tuple[int, ...]
    landscapes: Path
    file: Path

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.file.exists()

    def carry_out(self) -> None:
        """Play and write the file."""
        known = known_of(self.scenario, self.landscapes)
        slo = objective(self.scenario, known)
        factory = factory_of(self.policy, known)
        runs = [play(self.policy, factory, self.scenario, known, slo, seed) for seed in self.seeds]
        results.save(results.Results({}, tuple(results.Stored.of(run) for run in runs)), self.file)

    def __str__(self) -> str:
        return f"{self.policy} under {self.scenario.name}, seeds {self.seeds[0]} to {self.seeds[-1]}"


def tasks(
    policies: Sequence[str], wanted: Sequence[Scenario], seeds: int, landscapes: Path, scratch: Path
) -> list[Task]:
    """All tasks of a benchmark, in an order that mixes slow and fast ones, so that the time left can be told."""
    hashes = hashes_of(wanted, landscapes)
    return [
        Task(policy, scenario, chunk, landscapes, scratch / f"{_name(policy, scenario, chunk, hashes)}.parquet")
        for policy, scenario, chunk in mixed(policies, wanted, seeds)
    ]


def mixed(who: Sequence[_T], wanted: Sequence[Scenario], seeds: int) -> list[tuple[_T, Scenario, tuple[int, ...]]]:
    """Everybody under every scenario with every few seeds, in an order that mixes slow and fast ones."""
    found = []
    for start in range(0, seeds, SEEDS_PER_TASK):
        chunk = tuple(range(start, min(start + SEEDS_PER_TASK, seeds)))
        found += [(one, scenario, chunk) for scenario in wanted for one in who]
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def hashes_of(wanted: Sequence[Scenario], landscapes: Path) -> dict[str, str]:
    """Fingerprints of all landscapes that these scenarios need, by name."""
    return {name: fingerprint.of_file(landscapes / f"{name}.parquet") for one in wanted for name in one.landscapes}


def known_of(scenario: Scenario, landscapes: Path) -> dict[str, Terrain]:
    """A scenario's landscapes by name; each is read once in a process."""
    return {name: _terrain(landscapes / f"{name}.parquet") for name in scenario.landscapes}


@lru_cache(maxsize=8)
def _terrain(path: Path) -> Terrain:
    return terrain(landscape.load(path))


def _name(policy: str, scenario: Scenario, seeds: tuple[int, ...], hashes: Mapping[str, str]) -> str:
    code = (fingerprint.of_code(module_of(policy)), fingerprint.of_code("benchmarks.replay.play"))
    data = [hashes[name] for name in scenario.landscapes]
    return fingerprint.of_values(policy, code, scenario, data, seeds)
