"""Study: the runs of all variants, ready to be asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.guarded.measures import Row
from benchmarks.guarded.variants import Variant
from benchmarks.replay.scenarios import Scenario

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Study:
    """All runs of a benchmark.

    Attributes:
        variants: In the order in which they are shown.
        scenarios: Likewise.
        bounds: Bound of the objective of each scenario by its name, seconds.
        rows: The runs; each variant has the same seeds under each scenario.
    """

    variants: tuple[Variant, ...]
    scenarios: tuple[Scenario, ...]
    bounds: Mapping[str, float]
    rows: tuple[Row, ...]

    def of(self, variant: Variant, scenario: Scenario) -> list[Row]:
        """Runs in the order of seeds."""
        found = [row for row in self.rows if (row.variant, row.scenario) == (variant.name, scenario.name)]
        return sorted(found, key=lambda row: row.seed)

    def values(self, variant: Variant, scenario: Scenario, name: str) -> Floats:
        """A measure of each run, shape (seeds,)."""
        return np.array([row.values[name] for row in self.of(variant, scenario)])

    def all_values(self, variant: Variant, name: str) -> Floats:
        """The same of all scenarios, shape (scenarios, seeds)."""
        return np.array([self.values(variant, scenario, name) for scenario in self.scenarios])

    def windows(self, variant: Variant, scenario: Scenario) -> tuple[Floats, Floats]:
        """Requests, and broken ones, of each window; shape (seeds, w) each."""
        rows = self.of(variant, scenario)
        return np.array([row.requests for row in rows], dtype=float), np.array([row.broken for row in rows])

    def unguarded(self, variant: Variant) -> Variant:
        """The same policy without guardrails."""
        return next(one for one in self.variants if one.policy == variant.policy and not one.guarded)

    def said(self, variant: Variant) -> dict[str, float]:
        """Share of the time for each reason for doing nothing, over all runs."""
        return _mean([row.said for row in self._rows_of(variant)])

    def closed(self, variant: Variant) -> dict[str, float]:
        """Share of the time for which each gate was closed, over all runs."""
        return _mean([row.closed for row in self._rows_of(variant)])

    def _rows_of(self, variant: Variant) -> list[Row]:
        return [row for row in self.rows if row.variant == variant.name]


def _mean(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for one in several for name in one})
    return {name: float(np.mean([one.get(name, 0.0) for one in several])) for name in names}
