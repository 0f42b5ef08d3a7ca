"""Tables: what the guardrails cost and save, over all scenarios, by scenario, and what they said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from benchmarks.guarded.play import ACTING
from benchmarks.guarded.study import Study
from benchmarks.guarded.variants import PAIRS, Variant
from benchmarks.replay import intervals
from benchmarks.replay.scenarios import Scenario
from benchmarks.statistics import Estimate
from benchmarks.tables import Table, milliseconds

_HEADER = (
    "policy, guardrails",
    "requests in violation, per 1000",
    "windows in violation",
    "worst window, %",
    "windows to the objective",
    "to 20 %",
    "regret",
    "switches",
    "spike-seconds",
    "rollbacks",
)
_LEAST_SHARE = 0.005


def all_tables(study: Study) -> list[Table]:
    """The comparison, every variant, each scenario, and the reasons."""
    found = [pairs(study), everything(study), *(of_scenario(study, one) for one in study.scenarios)]
    return [*found, reasons(study), gates(study)]


def pairs(study: Study) -> Table:
    """Guarded over unguarded, scenario by scenario."""
    columns = ("broken_per_1000", "windows", "regret")
    rows = []
    for bare, guarded in PAIRS:
        if bare not in study.variants or guarded not in study.variants:
            continue
        for scenario in study.scenarios:
            row = [f"{bare.policy}, {scenario.name}"]
            for name in columns:
                theirs, ours = study.values(guarded, scenario, name), study.values(bare, scenario, name)
                row.append(_ratio(intervals.ratio_of_means(theirs, ours)))
            for name in ("to_objective", "to_20"):
                both = (study.values(one, scenario, name) for one in (bare, guarded))
                row.append(" → ".join(_windows(intervals.median(values).value) for values in both))
            row.append(" → ".join(f"{study.values(one, scenario, 'worst').mean():.0%}" for one in (bare, guarded)))
            rows.append(row)
        row = [f"**{bare.policy}, all**"]
        for name in columns:
            row.append(_ratio(intervals.mean_ratio(study.all_values(guarded, name), study.all_values(bare, name))))
        rows.append([*row, "", "", ""])
    header = [
        "policy, scenario",
        "requests in violation",
        "windows in violation",
        "regret",
        "windows to the objective",
        "to 20 %",
        "worst window",
    ]
    note = (
        "Guarded over unguarded, paired by seed: below 1 the guardrails save, above 1 they cost. All: geometric mean "
        "over scenarios. Brackets: 95 % bootstrap interval over seeds. With an arrow: unguarded → guarded; windows are "
        "medians, *never* where half of the runs did not get there; the worst window is the mean over runs of the "
        "largest share of requests that broke the bound within five seconds."
    )
    return Table("The price of safety", header, rows, note)


def everything(study: Study) -> Table:
    """Every variant over all scenarios."""
    rows = []
    for variant in study.variants:
        per_1000 = study.all_values(variant, "broken_per_1000")
        rows.append(
            [
                _label(variant),
                str(intervals.mean(per_1000.mean(axis=0))),
                _ratio(intervals.mean_ratio(per_1000, study.all_values(study.unguarded(variant), "broken_per_1000")))
                if variant.guarded
                else "",
                f"{study.all_values(variant, 'windows').mean():.1f}",
                f"{100 * study.all_values(variant, 'worst').mean():.0f}",
                *(_reached(study, variant, name) for name in ("to_objective", "to_20")),
                *(
                    f"{study.all_values(variant, name).mean():.1f}"
                    for name in ("regret", "switches", "spike_seconds", "rollbacks")
                ),
            ]
        )
    header = [*_HEADER[:2], "over unguarded", *_HEADER[2:]]
    note = (
        "Means over scenarios and seeds; windows to the objective and to 20 % are medians over all runs, with the "
        "share of the runs that got there. Single guardrails are the shipped settings but for the one that is named."
    )
    return Table("Each guardrail", header, rows, note)


def of_scenario(study: Study, scenario: Scenario) -> Table:
    """Every variant under one scenario."""
    rows = [
        [
            _label(variant),
            *(str(intervals.mean(study.values(variant, scenario, name))) for name in ("broken_per_1000", "windows")),
            f"{100 * study.values(variant, scenario, 'worst').mean():.0f}",
            *(_settled(study, variant, scenario, name) for name in ("to_objective", "to_20")),
            str(intervals.mean(study.values(variant, scenario, "regret"))),
            *(
                f"{study.values(variant, scenario, name).mean():.1f}"
                for name in ("switches", "spike_seconds", "rollbacks")
            ),
        ]
        for variant in study.variants
    ]
    title = f"{scenario.name}, p99 ≤ {milliseconds(study.bounds[scenario.name])} ms"
    return Table(title, _HEADER, rows)


def reasons(study: Study) -> Table:
    """What the loop said while it did nothing."""
    note = (
        "Share of the time for which the loop gave this reason for doing nothing, %; asked every five seconds. "
        "Those given for less than 0.5 % of it everywhere are left out."
    )
    said = {_label(variant): study.said(variant) for variant in study.variants if variant.guarded}
    return _shares("What the loop said", said, note)


def gates(study: Study) -> Table:
    """Which gates were closed."""
    note = (
        "Share of the time for which the last thing that the loop said had found the gate closed, %. Gates about a "
        "choice are asked only where those before asking were open; several may be closed to one choice. Where a trial "
        "was refused and the best known configuration asked for in its place, what closed to the latter counts."
    )
    closed = {_label(variant): study.closed(variant) for variant in study.variants if variant.guarded}
    return _shares("Which gates were closed", closed, note)


def _shares(title: str, found: Mapping[str, Mapping[str, float]], note: str) -> Table:
    """A column for each name that somebody has a share of, the largest first."""
    totals = Counter[str]()
    for one in found.values():
        totals.update({name: share for name, share in one.items() if share >= _LEAST_SHARE})
    names = [name for name, _ in totals.most_common()]
    rows = [[label, *(f"{100 * one.get(name, 0.0):.0f}" for name in names)] for label, one in found.items()]
    return Table(
        title, [_HEADER[0], *(f"`{name}`" if name != ACTING else "(just acted)" for name in names)], rows, note
    )


def _label(variant: Variant) -> str:
    return f"{variant.policy}, {variant.label}"


def _ratio(found: Estimate) -> str:
    return str(found) if math.isfinite(found.value) else "∞"


def _windows(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"


def _settled(study: Study, variant: Variant, scenario: Scenario, name: str) -> str:
    found = intervals.median(study.values(variant, scenario, name))
    if math.isnan(found.low):
        return _windows(found.value)
    return f"{_windows(found.value)} [{_windows(found.low)}, {_windows(found.high)}]"


def _reached(study: Study, variant: Variant, name: str) -> str:
    values = study.all_values(variant, name).ravel()
    middle = float(np.quantile(values, 0.5, method="inverted_cdf"))
    return f"{_windows(middle)} ({np.isfinite(values).mean():.0%})"
