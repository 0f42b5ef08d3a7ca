"""Plots of the comparison on a live server."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.live.plan import STEP, Cell
from benchmarks.live.results import Row
from benchmarks.live.summary import Study
from benchmarks.replay.policies import OURS
from benchmarks.replay.style import COLOURS, LINES, QUIET_COLOUR


def over_time(study: Study) -> Figure | None:
    """The p99 of each second under the step schedule, a panel a level; the median over repeats. None without runs."""
    cells = [cell for cell in study.cells if cell.schedule == STEP]
    if not cells:
        return None
    names = sorted(study.policies, key=lambda name: name != OURS)
    figure = Figure(figsize=(7.2, 2.1 * len(cells) + 0.4), layout="constrained")
    panels = np.ravel(figure.subplots(len(cells), 1, sharex=True, squeeze=False))
    for panel, cell in zip(panels, cells, strict=True):
        for place, name in reversed(list(enumerate(names))):
            seconds = by_second(study.of_policy(name, cell))
            style = {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)]}
            width = 1.8 if name == OURS else 1.1
            panel.plot(np.arange(1, len(seconds) + 1), 1e3 * seconds, label=name, linewidth=width, **style)
        panel.axhline(1e3 * study.bounds[cell.key], color=QUIET_COLOUR, linewidth=0.9, linestyle=":")
        panel.set_yscale("log")
        panel.set_xlim(0, float(study.header["seconds"]))
        panel.set_title(_title(cell))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper")
    figure.supxlabel("seconds since the policy began; dotted: the objective's bound")
    figure.supylabel("p99 of each second, ms")
    return figure


def by_second(runs: list[Row]) -> NDArray[np.float64]:
    """Median over runs of each second's p99, seconds; NaN where no run has an answer. Shape (seconds,)."""
    lists = [run["p99_by_second"] for run in runs]
    length = max((len(one) for one in lists), default=0)
    values = np.full((max(len(lists), 1), length), np.nan)
    for row, one in zip(values, lists, strict=False):
        row[: len(one)] = [np.nan if value is None else value for value in one]
    columns = (column[~np.isnan(column)] for column in values.T)
    return np.array([np.median(column) if len(column) else np.nan for column in columns])


def _title(cell: Cell) -> str:
    return f"highest step {cell.percent} % of capacity"
