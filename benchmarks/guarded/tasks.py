"""Task: one variant under one scenario with a few seeds; the piece that a worker does and that is not done twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import structlog

from benchmarks import landscape
from benchmarks.guarded.measures import Row, measure
from benchmarks.guarded.play import play
from benchmarks.guarded.variants import Variant
from benchmarks.replay import fingerprint
from benchmarks.replay.metrics import Truth
from benchmarks.replay.policies import module_of
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain, objective, terrain

#: Seeds of a task: few, so that what an interruption costs is little.
SEEDS_PER_TASK = 5


@dataclass(frozen=True, slots=True)
class Task:
    """What to do and where the result goes.

    Attributes:
        variant: Who steers.
        scenario: What is met.
        seeds: One run each.
        landscapes: Folder of the landscapes.
        file: Of the result; its name holds the fingerprint of all that the result depends on.
    """

    variant: Variant
    scenario: Scenario
    seeds: tuple[int, ...]
    landscapes: Path
    file: Path

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.file.exists()

    def carry_out(self) -> None:
        """Play and write the file, whole or not at all."""
        # Every decision of the loop is a line of its log otherwise.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        known = {name: _terrain(self.landscapes / f"{name}.parquet") for name in self.scenario.landscapes}
        slo = objective(self.scenario, known)
        truth = Truth.of(self.scenario, known, slo)
        rows = [
            measure(self.variant.name, self.scenario, seed, play(self.variant, self.scenario, known, slo, seed), truth)
            for seed in self.seeds
        ]
        scratch = self.file.with_suffix(".new")
        scratch.write_text(json.dumps([row.to_dict() for row in rows]), encoding="utf-8")
        scratch.replace(self.file)

    def rows(self) -> list[Row]:
        """The result."""
        return [Row.from_dict(raw) for raw in json.loads(self.file.read_text(encoding="utf-8"))]

    def __str__(self) -> str:
        return f"{self.variant.name} under {self.scenario.name}, seeds {self.seeds[0]} to {self.seeds[-1]}"


def tasks(
    variants: Sequence[Variant], wanted: Sequence[Scenario], seeds: int, landscapes: Path, scratch: Path
) -> list[Task]:
    """All tasks of a benchmark, in an order that mixes slow and fast ones, so that the time left can be told."""
    hashes = {name: fingerprint.of_file(landscapes / f"{name}.parquet") for one in wanted for name in one.landscapes}
    found = []
    for start in range(0, seeds, SEEDS_PER_TASK):
        chunk = tuple(range(start, min(start + SEEDS_PER_TASK, seeds)))
        for scenario in wanted:
            for variant in variants:
                name = _name(variant, scenario, chunk, hashes)
                found.append(Task(variant, scenario, chunk, landscapes, scratch / f"{name}.json"))
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


@lru_cache(maxsize=8)
def _terrain(path: Path) -> Terrain:
    return terrain(landscape.load(path))


def _name(variant: Variant, scenario: Scenario, seeds: tuple[int, ...], hashes: Mapping[str, str]) -> str:
    code = (fingerprint.of_code(module_of(variant.policy)), fingerprint.of_code(__name__))
    what = (variant.policy, variant.guarded, variant.settings)
    data = [hashes[name] for name in scenario.landscapes]
    return fingerprint.of_values(variant.name, what, code, scenario, data, seeds)
