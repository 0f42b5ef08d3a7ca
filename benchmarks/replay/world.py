"""World: landscapes as a run meets them, with the truth about every configuration that policies never see."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.landscape import Landscape, Replay, load, load_all, tails
from benchmarks.replay.scenarios import Scenario
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.learning.space import ConfigSpace

PERCENTILE = 0.99
#: The bound of the objective is this many times the best configuration's tail.
SLACK = 2.0
#: The service's own shortest window, seconds; longer where fewer requests than these would fall into it.
WINDOW_SECONDS = 5.0
WINDOW_REQUESTS = 500


@dataclass(frozen=True, slots=True)
class Terrain:
    """One landscape, ready to be replayed.

    Attributes:
        replay: Draws windows.
        configs: Every configuration, shape (n,); arrays and runs speak of them by index.
        tails: True p99 of each, seconds, shape (n,).
    """

    replay: Replay
    configs: tuple[ServingConfig, ...]
    tails: NDArray[np.float64]

    @property
    def landscape(self) -> Landscape:
        """What was measured."""
        return self.replay.landscape

    @property
    def space(self) -> ConfigSpace:
        """The lattice."""
        return self.replay.space

    @property
    def best(self) -> int:
        """Index of the exhaustive optimum."""
        return int(self.tails.argmin())

    @property
    def best_tail(self) -> float:
        """Its p99, seconds."""
        return float(self.tails.min())

    @property
    def start(self) -> int:
        """Index of TensorFlow Serving's default, or of what is nearest to it: where every run begins."""
        return self.configs.index(self.replay.measured(ServingConfig()))

    def ratios(self) -> NDArray[np.float64]:
        """Each configuration's p99 over the optimum's, shape (n,), 1 at the optimum."""
        return self.tails / self.best_tail

    def violating(self, slo: Slo) -> NDArray[np.float64]:
        """Share of requests of each configuration that break the bound, shape (n,)."""
        return np.array([self.replay.violation_ratio(config, slo.bound_seconds) for config in self.configs])


def terrain(landscape: Landscape) -> Terrain:
    """Prepare a landscape.

    Raises:
        InvalidValueError: It does not hold every configuration of its lattice.
    """
    replay = Replay(landscape, window_seconds(landscape.workload))
    if len(replay.configs) < len(replay.space):
        raise InvalidValueError(
            "landscapes",
            f"{landscape.name} holds {len(replay.configs)} of {len(replay.space)} configurations; "
            "`regulus bench record` goes on where it stopped",
        )
    return Terrain(replay, replay.configs, tails(replay, PERCENTILE))


def terrains(folder: Path, only: Collection[str] = ()) -> dict[str, Terrain]:
    """Landscapes of a folder by name: those named, or all.

    Raises:
        InvalidValueError: One named is missing, there is none, or one is incomplete.
    """
    found = {name: load(folder / f"{name}.parquet") for name in only} if only else load_all(folder)
    return {name: terrain(landscape) for name, landscape in found.items()}


def window_seconds(workload: Workload) -> float:
    """Length of a window under this load."""
    return max(WINDOW_SECONDS, WINDOW_REQUESTS / workload.rate_per_second)


def loads(landscapes: Iterable[Landscape]) -> dict[str, tuple[str, ...]]:
    """For each model the names of its landscapes on one lattice, the lightest load first."""
    found: dict[str, list[Landscape]] = {}
    for landscape in landscapes:
        found.setdefault(landscape.model, []).append(landscape)
    for model, several in found.items():
        if len({str(one.sheet["knobs"]) for one in several}) > 1:
            raise InvalidValueError("landscapes", f"those of {model} were recorded on different lattices")
    return {
        model: tuple(one.name for one in sorted(several, key=lambda one: _heaviness(one.workload)))
        for model, several in sorted(found.items())
    }


def _heaviness(workload: Workload) -> tuple[float, float]:
    return workload.rate_per_second * workload.examples_per_request, workload.cv


def objective(scenario: Scenario, known: Mapping[str, Terrain]) -> Slo:
    """The objective of a scenario, the same for all policies: its rule.

    The bound is :data:`SLACK` times the best p99 under the scenario's hardest load. Where the default would meet that
    under every load, there would be nothing to do; then it is the geometric mean of the best p99 and the default's.
    """
    best = max(known[name].best_tail for name in scenario.landscapes)
    default = max(float(known[name].tails[known[name].start]) for name in scenario.landscapes)
    bound = SLACK * best if default > SLACK * best else math.sqrt(best * default)
    return Slo(bound, PERCENTILE)
