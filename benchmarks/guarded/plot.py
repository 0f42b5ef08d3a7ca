"""Plot: requests in violation over the time of a run, with and without guardrails; a panel for each scenario."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from benchmarks.guarded.study import Floats, Study
from benchmarks.guarded.variants import PAIRS
from benchmarks.guarded.world import SLOT_SECONDS
from benchmarks.replay.style import OURS_COLOUR, QUIET_COLOUR, RIVAL_COLOUR

_COLUMNS = 2
#: Windows over which the shares are smoothed, so that lines can be told apart.
_SMOOTH = 6


def over_time(study: Study) -> Figure:
    """Mean over seeds of the share of requests that broke the bound."""
    rows = math.ceil(len(study.scenarios) / _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 2.1 * rows + 0.5), layout="constrained")
    panels = np.ravel(figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False))
    for panel, scenario in zip(panels, study.scenarios, strict=False):
        for pair, colour in zip(PAIRS, (OURS_COLOUR, RIVAL_COLOUR), strict=True):
            for variant, line in zip(pair, (":", "-"), strict=True):
                if variant not in study.variants:
                    continue
                requests, broken = study.windows(variant, scenario)
                shares = 100 * _smoothed(broken.sum(axis=0)) / np.maximum(_smoothed(requests.sum(axis=0)), 1)
                seconds = SLOT_SECONDS * np.arange(1, len(shares) + 1)
                label = f"{variant.policy}, {variant.label}"
                panel.plot(seconds, shares, line, color=colour, linewidth=1.3, label=label)
        panel.axhline(1.0, color=QUIET_COLOUR, linewidth=0.8, linestyle="--")
        panel.set_yscale("symlog", linthresh=1)
        panel.set_ylim(0, 100)
        panel.set_yticks((0, 1, 3, 10, 30, 100), ("0", "1", "3", "10", "30", "100"))
        panel.minorticks_off()
        panel.set_title(scenario.name)
    for panel in panels[len(study.scenarios) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    figure.supxlabel("seconds since the start; dashed: what the objective allows")
    figure.supylabel("requests in violation, %")
    return figure


def _smoothed(values: Floats) -> Floats:
    """Sum over the last few windows, fewer at the beginning; shape (w,)."""
    sums = np.cumsum(values)
    before = np.concatenate([np.zeros(min(_SMOOTH, len(sums))), sums[:-_SMOOTH]])
    found: Floats = sums - before
    return found
