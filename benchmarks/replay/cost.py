"""Cost: how long a suggestion takes once much has been observed, and a policy's memory; with nothing beside it."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import landscape
from benchmarks.replay import fingerprint
from benchmarks.replay.play import PolicyFactory, play
from benchmarks.replay.policies import factory_of, module_of
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain, objective, terrain
from benchmarks.statistics import quantile

#: A policy slower than this, seconds for each of the two parts, is measured as far as it came.
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        observations: Windows that a policy has seen before its suggestions are timed.
        suggestions: How many are timed.
        memory_windows: Length of the run whose memory is measured: tracing it makes it several times slower.
    """

    observations: int
    suggestions: int
    memory_windows: int


WHOLE = Effort(500, 100, 60)
#: For a first impression.
BRIEF = Effort(100, 20, 20)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a policy takes.

    Attributes:
        observations: How many it had before its suggestions were timed.
        suggestions: How many were timed.
        p50_seconds: Median time of one, with learning from the window before it.
        p99_seconds: 99th percentile.
        peak_bytes: Most memory that Python and NumPy held during the run that was traced.
    """

    observations: int
    suggestions: int
    p50_seconds: float
    p99_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class CostTask:
    """What to measure and where the result goes."""

    policy: str
    landscape: Path
    file: Path
    effort: Effort

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.file.exists()

    def carry_out(self) -> None:
        """Measure and write the file."""
        one = terrain(landscape.load(self.landscape))
        found = cost(factory_of(self.policy, {one.landscape.name: one}), one, self.effort)
        scratch = self.file.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(found)), encoding="utf-8")
        scratch.replace(self.file)

    def __str__(self) -> str:
        return f"time and memory of {self.policy}"

    def result(self) -> dict[str, float]:
        """What was measured."""
        found: dict[str, float] = json.loads(self.file.read_text(encoding="utf-8"))
        return found


def cost_task(policy: str, path: Path, scratch: Path, effort: Effort) -> CostTask:
    """The task of one policy on one landscape."""
    code = (fingerprint.of_code(module_of(policy)), fingerprint.of_code(__name__))
    name = fingerprint.of_values("cost", policy, code, fingerprint.of_file(path), effort)
    return CostTask(policy, path, scratch / f"{name}.json", effort)


def cost(factory: PolicyFactory, one: Terrain, effort: Effort) -> Cost:
    """Measure a policy on a landscape."""
    name = one.landscape.name
    scenario = Scenario("stationary", name, (name,) * effort.memory_windows)
    slo = objective(scenario, {name: one})
    rng = np.random.default_rng(0)
    policy = factory(one.space, 0)
    observed, began = 0, perf_counter()
    while observed < effort.observations and perf_counter() - began < PATIENCE_SECONDS:
        config = one.configs[int(rng.integers(len(one.configs)))]
        window = one.replay.window(config, rng)
        policy.observe(window.workload, config, window)
        observed += 1
    times: list[float] = []
    config, began = one.configs[one.start], perf_counter()
    while len(times) < effort.suggestions and perf_counter() - began < PATIENCE_SECONDS:
        window = one.replay.window(config, rng)
        start = perf_counter()
        policy.observe(window.workload, config, window)
        suggested = policy.suggest(window.workload, config, slo)
        times.append(perf_counter() - start)
        config = one.replay.measured(suggested.config)
    tracemalloc.start()
    try:
        play("cost", factory, scenario, {name: one}, slo, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return Cost(observed, len(times), quantile(times, 0.5), quantile(times, 0.99), peak)
