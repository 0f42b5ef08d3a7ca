"""Study: results with the landscapes they came from; every table, target and plot asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.metrics import Truth, measure
from benchmarks.replay.results import Results, Stored
from benchmarks.replay.scenarios import Scenario, scenarios
from benchmarks.replay.world import Terrain, loads, objective


@dataclass(frozen=True)
class Study:
    """What was found and what is true.

    Attributes:
        results: Of `regulus bench run`.
        known: Every landscape by its name.
        fingerprints: Of their files as they are now.
    """

    results: Results
    known: Mapping[str, Terrain]
    fingerprints: Mapping[str, str]

    @property
    def meta(self) -> Mapping[str, Any]:
        """How the results came about."""
        return self.results.meta

    @property
    def changed(self) -> list[str]:
        """Landscapes that are no longer what they were when the results were made."""
        then = self.meta["landscapes"]
        return [name for name in then if self.fingerprints.get(name) != then[name]]

    @cached_property
    def scenarios(self) -> dict[str, Scenario]:
        """Those that were run, by name."""
        all_of_them = scenarios(loads(one.landscape for one in self.known.values()), windows=int(self.meta["windows"]))
        ran = {run.scenario for run in self.results.runs}
        return {scenario.name: scenario for scenario in all_of_them if scenario.name in ran}

    @cached_property
    def truths(self) -> dict[str, Truth]:
        """The truth of each scenario."""
        return {
            name: Truth.of(scenario, self.known, objective(scenario, self.known))
            for name, scenario in self.scenarios.items()
        }

    @cached_property
    def _runs(self) -> dict[str, dict[str, list[Stored]]]:
        return {name: self.results.of(name) for name in self.scenarios}

    @cached_property
    def _metrics(self) -> dict[str, dict[str, list[dict[str, float]]]]:
        return {
            name: {
                policy: [measure(run, self.scenarios[name], self.truths[name]) for run in runs]
                for policy, runs in by_policy.items()
            }
            for name, by_policy in self._runs.items()
        }

    def of_kind(self, kind: str) -> list[Scenario]:
        """The scenarios of a kind."""
        return [scenario for scenario in self.scenarios.values() if scenario.kind == kind]

    def runs(self, scenario: str) -> Mapping[str, list[Stored]]:
        """Runs by policy, in the order of seeds."""
        return self._runs[scenario]

    def policies(self, scenario: str) -> list[str]:
        """Who ran it."""
        return [name for name in self.results.policies if name in self._runs[scenario]]

    def values(self, scenario: str, policy: str, metric: str) -> NDArray[np.float64]:
        """A metric of each seed, shape (seeds,)."""
        return np.array([found[metric] for found in self._metrics[scenario][policy]])

    def ratios(self, scenario: str, policy: str) -> NDArray[np.float64]:
        """The ratio to the optimum of each seed's windows, shape (seeds, w)."""
        truth, one = self.truths[scenario], self.scenarios[scenario]
        return np.stack([truth.along(truth.ratios, one, run.path) for run in self._runs[scenario][policy]])
