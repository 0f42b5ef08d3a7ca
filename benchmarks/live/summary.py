"""Summary: what the runs say of each policy, by cell and against TensorFlow Serving's default. Pure.

Runs are compared in pairs: the same cell and repeat, hence the same arrivals under the same objective.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.live.plan import SCHEDULES, Cell
from benchmarks.live.results import Results, Row
from benchmarks.statistics import Estimate, bootstrap, median

DEFAULT = "default"

Pair = tuple[Row, Row]
"""A policy's run, and the default's on the same arrivals."""


@dataclass(frozen=True, slots=True)
class Study:
    """The runs of a comparison.

    Attributes:
        header: What was compared.
        bounds: The bound of each cell's objective, seconds.
        runs: All of them.
    """

    header: Row
    bounds: dict[str, float]
    runs: tuple[Row, ...]

    @classmethod
    def of(cls, results: Results) -> Study:
        """All that a file holds."""
        return cls(results.header or {}, dict(results.bounds), tuple(results.runs))

    @property
    def cells(self) -> list[Cell]:
        """Those that have runs, by schedule and level."""
        there = {Cell.parse(run["cell"]) for run in self.runs}
        return sorted(there, key=lambda cell: (SCHEDULES.index(cell.schedule), cell.percent))

    @property
    def policies(self) -> list[str]:
        """Those that have runs; the fewest broken objectives first."""
        names = dict.fromkeys(run["policy"] for run in self.runs)
        return sorted(names, key=lambda name: _mean(run["violation_ratio"] for run in self.of_policy(name)))

    def of_policy(self, policy: str, cell: Cell | None = None) -> list[Row]:
        """The runs of a policy, of one cell or of all, in the order of repeats."""
        found = [run for run in self.runs if run["policy"] == policy and (cell is None or run["cell"] == cell.key)]
        return sorted(found, key=lambda run: (run["cell"], run["repeat"]))

    def pairs(self, policy: str, cells: Sequence[Cell]) -> list[Pair]:
        """Its runs in some cells, each with the default's."""
        keys = {cell.key for cell in cells}
        base = {(run["cell"], run["repeat"]): run for run in self.of_policy(DEFAULT)}
        mine = [run for run in self.of_policy(policy) if run["cell"] in keys]
        return [(run, base[key]) for run in mine if (key := (run["cell"], run["repeat"])) in base]


def p99_ratio(pairs: Sequence[Pair]) -> Estimate | None:
    """Geometric mean of the ratios of both p99; None without pairs."""
    return _estimate(pairs, lambda drawn: math.exp(_mean(math.log(a["p99"] / b["p99"]) for a, b in drawn)))


def violation_ratio(pairs: Sequence[Pair]) -> Estimate | None:
    """Share of requests that broke the objective over the default's, each a mean over runs; None without pairs."""
    return _estimate(pairs, _violations)


def _violations(pairs: Sequence[Pair]) -> float:
    ours, theirs = (_mean(pair[i]["violation_ratio"] for pair in pairs) for i in (0, 1))
    if theirs == 0:
        return 1.0 if ours == 0 else math.inf
    return ours / theirs


def met_after(runs: Sequence[Row]) -> float:
    """Median of the seconds until the objective is met for good; infinite where half of the runs never get there."""
    return float(np.quantile([_or(run["met_after"], math.inf) for run in runs], 0.5, method="inverted_cdf"))


def suggestion_p99(runs: Sequence[Row]) -> float:
    """The largest of the runs' p99 of the time that a suggestion takes, seconds; NaN where none was asked for."""
    return max((run["suggestion_p99"] for run in runs if run["suggestion_p99"] is not None), default=math.nan)


def middle(runs: Sequence[Row], name: str) -> float:
    """Median over runs."""
    return median([run[name] for run in runs])


def last_third(runs: Sequence[Row]) -> float:
    """Median over runs of the p99 of the last third."""
    return median([run["p99_thirds"][-1] for run in runs])


def mean(runs: Sequence[Row], name: str) -> float:
    """Mean over runs."""
    return _mean(run[name] for run in runs)


def lost(runs: Sequence[Row]) -> int:
    """Requests without a good answer, in all runs."""
    return sum(sum(run["lost"].values()) for run in runs)


def _estimate(pairs: Sequence[Pair], statistic: Any) -> Estimate | None:
    return bootstrap(pairs, statistic, np.random.default_rng(0)) if pairs else None


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
