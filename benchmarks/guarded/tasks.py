"""Task: one variant under one scenario with a few seeds; the piece that a worker does and that is not done twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from benchmarks.guarded.measures import Row, measure
from benchmarks.guarded.play import play
from benchmarks.guarded.variants import Variant
from benchmarks.replay import fingerprint
from benchmarks.replay.metrics import Truth
from benchmarks.replay.policies import module_of
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.tasks import hashes_of, known_of, mixed
from benchmarks.replay.world import objective


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
        known = known_of(self.scenario, self.landscapes)
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
    hashes = hashes_of(wanted, landscapes)
    return [
        Task(variant, scenario, chunk, landscapes, scratch / f"{_name(variant, scenario, chunk, hashes)}.json")
        for variant, scenario, chunk in mixed(variants, wanted, seeds)
    ]


def _name(variant: Variant, scenario: Scenario, seeds: tuple[int, ...], hashes: Mapping[str, str]) -> str:
    code = (fingerprint.of_code(module_of(variant.policy)), fingerprint.of_code(__name__))
    what = (variant.policy, variant.guarded, variant.settings)
    data = [hashes[name] for name in scenario.landscapes]
    return fingerprint.of_values(variant.name, what, code, scenario, data, seeds)
