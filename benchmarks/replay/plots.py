"""Plots over windows and policies: convergence bands, cumulative regret, windows in violation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from benchmarks.replay import intervals
from benchmarks.replay.ablations import ABLATIONS
from benchmarks.replay.metrics import WORST_RATIO
from benchmarks.replay.policies import ORACLE, OURS
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.study import Study
from benchmarks.replay.style import COLOURS, LINES, OURS_COLOUR, QUIET_COLOUR, RIVAL_COLOUR
from benchmarks.replay.targets import LEARNERS

_COLUMNS = 4
_RATIO_TICKS = (1, 1.5, 2, 5, 10, 20)
_COUNT_TICKS = (0, 1, 2, 5, 10, 20, 50, 100)


def convergence(study: Study, scenario: Scenario) -> Figure:
    """A panel for each policy: its p99 over the optimum's, window by window; median and 10 to 90 % of the seeds."""
    names = _by_regret(study, scenario.name)
    rows = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(2.3 * _COLUMNS, 1.55 * rows + 0.5), layout="constrained")
    panels = np.ravel(figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False))
    windows = np.arange(1, len(scenario.schedule) + 1)
    for panel, name in zip(panels, names, strict=False):
        ratios = study.ratios(scenario.name, name)
        colour = OURS_COLOUR if name == OURS else RIVAL_COLOUR
        low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9], axis=0)
        panel.fill_between(windows, low, high, color=colour, alpha=0.25, linewidth=0)
        panel.plot(windows, middle, color=colour, linewidth=1.2)
        if name != OURS and OURS in names:
            panel.plot(windows, np.median(study.ratios(scenario.name, OURS), axis=0), color=OURS_COLOUR, linewidth=0.8)
        panel.set_title(name)
        _ratio_axis(panel)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    figure.supxlabel("window")
    figure.supylabel("p99 over the optimum's, ×")
    return figure


def regret(study: Study, scenario: Scenario) -> Figure:
    """Cumulative regret, mean over seeds: ours, the rivals that do best, the learners of the original comparison."""
    names = _by_regret(study, scenario.name)
    ranked = [name for name in names if name != OURS]
    chosen = [OURS] * (OURS in names) + [n for n in ranked if n in {*ranked[:4], *(r for r in ranked if r in LEARNERS)}]
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    windows, highest = np.arange(1, len(scenario.schedule) + 1), 0.0
    for place, name in enumerate(chosen[: len(COLOURS)]):
        totals = np.cumsum(np.log(study.ratios(scenario.name, name)), axis=1).mean(axis=0)
        highest = max(highest, totals[-1] if name != "default" else 0.0)
        label, width = f"{name} ({totals[-1]:.1f})", 1.8 if name == OURS else 1.2
        axes.plot(windows, totals, label=label, color=COLOURS[place], linestyle=LINES[place], linewidth=width)
    for phase in scenario.phases[1:] if scenario.kind != "diurnal" else ():
        axes.axvline(phase.start + 0.5, color=QUIET_COLOUR, linewidth=0.8, linestyle=":")
    axes.set_xlabel("window")
    axes.set_ylabel("cumulative regret, Σ ln(p99 / optimum)")
    axes.set_ylim(0, 1.1 * max(highest, 1.0))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="at the end in brackets")
    return figure


def violations(study: Study, scenarios: Sequence[Scenario]) -> Figure:
    """Windows in violation by policy, mean over seeds with its interval; a panel for each scenario."""
    names = _by_regret(study, scenarios[0].name)[::-1]
    figure = Figure(figsize=(2.2 * len(scenarios) + 1.6, 0.22 * len(names) + 1.0), layout="constrained")
    panels = np.ravel(figure.subplots(1, len(scenarios), sharey=True, squeeze=False))
    for panel, scenario in zip(panels, scenarios, strict=True):
        there = study.policies(scenario.name)
        for height, name in enumerate(names):
            if name not in there:
                continue
            found = intervals.mean(study.values(scenario.name, name, "violations"))
            colour = OURS_COLOUR if name == OURS else RIVAL_COLOUR
            if math.isfinite(found.low):
                panel.plot([found.low, found.high], [height, height], color=colour, linewidth=1.5)
            panel.plot([found.value], [height], "o", color=colour, markersize=4)
        panel.set_title(scenario.group)
        panel.set_xscale("symlog", linthresh=1)
        panel.set_xlim(-0.1, 1.2 * len(scenario.schedule))
        panel.set_xticks(_COUNT_TICKS, [str(tick) for tick in _COUNT_TICKS])
        panel.minorticks_off()
        panel.set_yticks(range(len(names)), names)
    figure.supxlabel(f"windows in violation, of {len(scenarios[0].schedule)}")
    return figure


def _by_regret(study: Study, scenario: str) -> list[str]:
    """Who is drawn, least regret first."""
    there = [name for name in study.policies(scenario) if name not in (*ABLATIONS, ORACLE)]
    return sorted(there, key=lambda name: float(study.values(scenario, name, "regret").mean()))


def _ratio_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_ylim(0.97, WORST_RATIO * 1.05)
    axes.yaxis.set_major_locator(FixedLocator(_RATIO_TICKS))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_yticklabels([f"{tick:g}" for tick in _RATIO_TICKS])
    axes.axhline(1.05, color=QUIET_COLOUR, linewidth=0.8, linestyle=":")
