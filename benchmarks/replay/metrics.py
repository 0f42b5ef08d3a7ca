"""Metrics: what one run is worth, computed from its path and the truth about every configuration. Pure.

Notation: ``r`` is the ratio of a configuration's true p99 to the exhaustive optimum's under the same load, ``w`` the
number of windows. Windows are counted by how many were spent before: 0 means that the first window was already there,
infinity that the run ended first.

*Within* x means r ≤ 1 + x. A stretch has *settled* within x from the first window on that is within, and from which on
at least :data:`STAY` of the windows, the last among them, are within; it must begin :data:`LEAST_STAY` windows before
the end (half-way in a shorter stretch), so that a lucky last window is no arrival. A policy may go on trying things.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.results import Stored
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain
from service.domain.slo import Slo

#: Share of the remaining windows that must be within.
STAY = 0.8
LEAST_STAY = 5
#: Ratios count as no more than this, so that one drowned window does not hide everything else: how high a p99 climbs
#: while a queue grows says how long the window was, not how bad the configuration is.
WORST_RATIO = 20.0
#: Windows after a change of load that its price is taken over, or fewer where the load changes again before.
AFTER_CHANGE = 10


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of a scenario's configurations.

    Attributes:
        ratios: r of every configuration under each landscape, capped at :data:`WORST_RATIO`, shape (n,) each.
        violating: Share of requests that break the bound, shape (n,) each.
        broken: 1 where the p99 exceeds the bound, else 0, shape (n,) each.
        slo: The objective.
    """

    ratios: Mapping[str, NDArray[np.float64]]
    violating: Mapping[str, NDArray[np.float64]]
    broken: Mapping[str, NDArray[np.float64]]
    slo: Slo

    @classmethod
    def of(cls, scenario: Scenario, known: Mapping[str, Terrain], slo: Slo) -> Truth:
        """Look it up for all configurations of a scenario."""
        here = {name: known[name] for name in scenario.landscapes}
        return cls(
            {name: np.minimum(one.ratios(), WORST_RATIO) for name, one in here.items()},
            {name: one.violating(slo) for name, one in here.items()},
            {name: (one.tails > slo.bound_seconds).astype(np.float64) for name, one in here.items()},
            slo,
        )

    @staticmethod
    def along(
        values: Mapping[str, NDArray[np.float64]], scenario: Scenario, path: NDArray[np.int16]
    ) -> NDArray[np.float64]:
        """A value of the configuration of each window, shape (w,)."""
        return np.array([values[name][index] for name, index in zip(scenario.schedule, path, strict=True)])


def settled(within: NDArray[np.bool_]) -> float:
    """Windows before a stretch has settled (see the module's docstring); infinity where it never does."""
    if not len(within) or not within[-1]:
        return math.inf
    shares = np.cumsum(within[::-1])[::-1] / np.arange(len(within), 0, -1)
    arrived = within & (shares >= STAY)
    arrived[len(within) - min(LEAST_STAY, math.ceil(len(within) / 2)) + 1 :] = False
    return first(arrived)


def first(within: NDArray[np.bool_]) -> float:
    """Windows before the first that is within; infinity where none is."""
    return float(np.argmax(within)) if within.any() else math.inf


def measure(run: Stored, scenario: Scenario, truth: Truth) -> dict[str, float]:
    """All metrics of a run by name.

    ``settled_5``, ``settled_20``, ``first_5``, ``choice_5``: windows, of the configuration in force and, for
    ``choice_5``, of what the policy would run without exploring. ``regret``: Σ ln r over all windows. ``violations``:
    windows whose configuration truly breaks the objective, the first left out, which runs the default before anybody
    has chosen. ``violating``: share of requests that break the bound, in all windows. ``switches``. Under a load that
    changes also, as means over the changes: ``after_settled_5`` and ``after_met`` (windows, within the new phase),
    ``after_regret`` (over :data:`AFTER_CHANGE` windows); and of the last phase of ``return``, ``return_5``.
    """
    ratios = truth.along(truth.ratios, scenario, run.path)
    # What would have been in force: the choice is asked after a window, so it holds for the next.
    chosen = truth.along(truth.ratios, scenario, np.concatenate([run.path[:1], run.choice[:-1]]))
    broken = truth.along(truth.broken, scenario, run.path).astype(bool)
    found = {
        "settled_5": settled(ratios <= 1.05),
        "settled_20": settled(ratios <= 1.2),
        "first_5": first(ratios <= 1.05),
        "choice_5": settled(chosen <= 1.05),
        "regret": float(np.log(ratios).sum()),
        "violations": float(broken[1:].sum()),
        "violating": float(truth.along(truth.violating, scenario, run.path).mean()),
        "switches": float(np.count_nonzero(np.diff(run.path))),
    }
    if scenario.kind in ("step", "return", "spike"):
        later = scenario.phases[1:]
        found["after_settled_5"] = _mean([settled(ratios[p.start : p.end] <= 1.05) for p in later])
        found["after_met"] = _mean([settled(~broken[p.start : p.end]) for p in later])
        found["after_regret"] = _mean(
            [float(np.log(ratios[p.start : min(p.start + AFTER_CHANGE, p.end)]).sum()) for p in later]
        )
        if scenario.kind == "return":
            last = scenario.phases[-1]
            found["return_5"] = settled(ratios[last.start : last.end] <= 1.05)
    return found


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
