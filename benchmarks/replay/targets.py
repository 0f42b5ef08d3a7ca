"""Targets: what the benchmark is to show, held against what it shows. Computed, never typed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.replay import cells, intervals
from benchmarks.replay.ablations import ABLATIONS
from benchmarks.replay.policies import NOT_SEARCHING, ORACLE, OURS
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.study import Study
from benchmarks.replay.tuned_on import TUNED_ON
from benchmarks.statistics import Estimate
from benchmarks.tables import Table, milliseconds

#: The learners that the original was compared with, and the original.
LEARNERS = ("dqn", "q_learning", "rrl")
TIMES_LEARNERS = 8.0
TIMES_BEST = 2.0
WINDOWS_AT_MOST = 8
WINDOWS_AFTER_RETURN = 1
VIOLATIONS_SHARE = 0.5
SUGGESTION_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Check:
    """One target at one place.

    Attributes:
        target: What is aimed at.
        place: Landscape, model or policy.
        ours: What we have.
        against: What it is held against.
        reached: Whether it holds; by the estimate, not by its interval.
    """

    target: str
    place: str
    ours: str
    against: str
    reached: bool


def checks(study: Study) -> list[Check]:
    """Every target that the results can tell of."""
    found = [check for scenario in study.of_kind("stationary") for check in _still(study, scenario)]
    found += [check for scenario in study.of_kind("return") for check in _return(study, scenario)]
    return sorted([*found, *_cost(study)], key=lambda check: check.target)


def table(study: Study) -> Table:
    """All targets and whether they are reached."""
    rows = [
        [one.target, one.place, one.ours, one.against, "reached" if one.reached else "**missed**"]
        for one in checks(study)
    ]
    return Table("The targets", ["target", "where", OURS, "held against", "result"], rows)


def _still(study: Study, scenario: Scenario) -> Iterator[Check]:
    if OURS not in study.policies(scenario.name):
        return
    horizon = len(scenario.schedule)
    place = f"{scenario.group}{' (tuned on)' if scenario.group in TUNED_ON else ''}"
    ours = intervals.median(study.values(scenario.name, OURS, "settled_5"))
    shown = cells.counted(ours, horizon)
    yield Check(
        f"1. windows to 5 %: at most {WINDOWS_AT_MOST}",
        place,
        shown,
        f"{WINDOWS_AT_MOST} windows",
        ours.value <= WINDOWS_AT_MOST,
    )
    rivals = [name for name in study.policies(scenario.name) if name not in (OURS, ORACLE, *ABLATIONS)]
    for name in (name for name in rivals if name in LEARNERS):
        yield _fewer(
            study, scenario, name, f"2. windows to 5 %: {TIMES_LEARNERS:g} × fewer than {name}", TIMES_LEARNERS, place
        )
    if rivals:
        best = _least(study, scenario, rivals, "settled_5")
        yield _fewer(
            study, scenario, best, f"3. windows to 5 %: {TIMES_BEST:g} × fewer than the best rival", TIMES_BEST, place
        )
    searching = [name for name in rivals if name not in NOT_SEARCHING]
    if searching:
        calm = min(searching, key=lambda name: float(study.values(scenario.name, name, "violations").mean()))
        theirs, mine = (study.values(scenario.name, name, "violations") for name in (calm, OURS))
        share = intervals.ratio_of_means(mine, theirs)
        yield Check(
            "5. windows in violation: at most half of the best rival's",
            place,
            f"{cells.number(intervals.mean(mine))} windows",
            f"{calm}: {cells.number(intervals.mean(theirs))} windows; share {cells.number(share)}",
            bool(mine.mean() <= VIOLATIONS_SHARE * theirs.mean()),
        )


def _fewer(study: Study, scenario: Scenario, rival: str, target: str, factor: float, place: str) -> Check:
    horizon = len(scenario.schedule)
    theirs, ours = (study.values(scenario.name, name, "settled_5") for name in (rival, OURS))
    # A run that never settles took at least all its windows.
    ratio = intervals.ratio_of_medians(np.minimum(theirs, horizon), np.minimum(ours, horizon))
    median = intervals.median(ours)
    shown = cells.counted(intervals.median(theirs), horizon)
    cut = math.isinf(intervals.median(theirs).value)
    return Check(
        target,
        place,
        cells.counted(median, horizon),
        f"{rival}: {shown}; {cells.times(ratio, at_least=cut)}",
        bool(np.isfinite(median.value)) and ratio.value >= factor,
    )


def _least(study: Study, scenario: Scenario, names: Sequence[str], metric: str) -> str:
    """The policy with the least median; of equals the one with the least regret."""

    def key(name: str) -> tuple[float, float]:
        median = intervals.median(study.values(scenario.name, name, metric)).value
        return median, float(study.values(scenario.name, name, "regret").mean())

    return min(names, key=key)


def _return(study: Study, scenario: Scenario) -> Iterator[Check]:
    if OURS in study.policies(scenario.name):
        back: Estimate = intervals.median(study.values(scenario.name, OURS, "return_5"))
        yield Check(
            f"4. windows to 5 % once a load returns: {WINDOWS_AFTER_RETURN}",
            scenario.group,
            cells.counted(back, scenario.phases[-1].windows),
            f"{WINDOWS_AFTER_RETURN} window",
            back.value <= WINDOWS_AFTER_RETURN,
        )


def _cost(study: Study) -> Iterator[Check]:
    cost = study.meta.get("costs", {}).get(OURS)
    if cost is not None:
        yield Check(
            f"6. time of a suggestion at {study.meta['cost_observations']} observations: p99 below 100 ms",
            study.meta["cost_landscape"],
            f"{milliseconds(cost['p99_seconds'])} ms",
            f"{milliseconds(SUGGESTION_SECONDS)} ms",
            cost["p99_seconds"] < SUGGESTION_SECONDS,
        )
