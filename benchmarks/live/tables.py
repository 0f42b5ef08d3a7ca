"""Tables of the comparison on a live server, each computed from its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.live import summary
from benchmarks.live.plan import STEP, Cell
from benchmarks.live.results import Row
from benchmarks.live.summary import DEFAULT, Pair, Study
from benchmarks.statistics import Estimate
from benchmarks.tables import Table, milliseconds

_NOTE = (
    "Times in ms. Late p99: of the last third of the run. Over: share of requests that broke the objective. Met after: "
    "from when on it was met for good, seconds. Suggestion: p99 of the time from a window to the choice. Others: share "
    "of the machine that went to neither server, clients nor policy. Medians over runs; over, switches, windows and "
    "others are means, lost is a sum, suggestion the largest."
)


def all_tables(study: Study) -> list[Table]:
    """Against the default first, then cell by cell."""
    cells = [of_cell(study, cell, "" if place else _NOTE) for place, cell in enumerate(study.cells)]
    return [against_default(study), *cells]


def against_default(study: Study) -> Table:
    """What each policy makes of the default's p99 and of its violations, exploring included."""
    rows = []
    for policy in (name for name in study.policies if name != DEFAULT):
        row = [policy, str(len(study.pairs(policy, study.cells)))]
        for cells in ([cell for cell in study.cells if cell.schedule == STEP], study.cells):
            pairs = study.pairs(policy, cells)
            row += [change(summary.p99_ratio(pairs)), change(summary.violation_ratio(pairs))]
        rows.append(row)
    header = ["policy", "runs", "p99, step schedule", "SLO violations, step schedule", "p99, all loads"]
    note = (
        "Change against the default on the same arrivals, exploration included: the geometric mean of the ratios of "
        "p99, and the mean share of requests that broke the objective over the default's. Brackets: 90 % bootstrap "
        "interval over runs, from five runs on."
    )
    return Table("Live, against TensorFlow Serving's default", [*header, "SLO violations, all loads"], rows, note)


def of_cell(study: Study, cell: Cell, note: str = "") -> Table:
    """One load: every policy, the one that breaks the objective least first."""
    there = [(name, runs) for name in study.policies if (runs := study.of_policy(name, cell))]
    there.sort(key=lambda one: summary.mean(one[1], "violation_ratio"))
    header = ["policy", "runs", "p50", "p99", "against default", "late p99", "over, %", "lost", "met after, s"]
    header += ["switches", "windows", "suggestion", "others, %"]
    bound = study.bounds.get(cell.key)
    title = f"Live, {_words(cell)}" + (f", p99 ≤ {milliseconds(bound)} ms" if bound else "")
    return Table(title, header, [_row(name, runs, study.pairs(name, [cell])) for name, runs in there], note)


def change(ratio: Estimate | None) -> str:
    """A ratio as a change in percent, with its interval; twice and more as a factor."""
    if ratio is None:
        return "–"
    if math.isnan(ratio.low):
        return _percent(ratio.value)
    return f"{_percent(ratio.value)} [{_percent(ratio.low)}, {_percent(ratio.high)}]"


def _percent(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "∞"
    if ratio >= 2:
        return f"× {ratio:.1f}"
    value = 100 * (ratio - 1)
    return f"{'−' if value < 0 else '+'}{abs(value):.1f} %"


def _row(policy: str, runs: Sequence[Row], pairs: Sequence[Pair]) -> list[str]:
    met = summary.met_after(runs)
    return [
        policy,
        str(len(runs)),
        milliseconds(summary.middle(runs, "p50")),
        milliseconds(summary.middle(runs, "p99")),
        "" if policy == DEFAULT else change(summary.p99_ratio(pairs)),
        milliseconds(summary.last_third(runs)),
        f"{100 * summary.mean(runs, 'violation_ratio'):.1f}",
        str(summary.lost(runs)),
        f"{met:.0f}" if math.isfinite(met) else "never",
        f"{sum(len(run['switches']) for run in runs) / len(runs):.1f}",
        f"{summary.mean(runs, 'windows'):.1f}",
        milliseconds(summary.suggestion_p99(runs)),
        f"{100 * summary.mean(runs, 'foreign_cpu_share'):.1f}",
    ]


def _words(cell: Cell) -> str:
    kinds = {"step": "step schedule", "gamma": "Gamma arrivals with CV 4", "trace": "recorded trace"}
    of = "highest step" if cell.schedule == STEP else "mean"
    return f"{kinds[cell.schedule]}, {of} {cell.percent} % of capacity"
