"""Report: all tables and plots of a study, each with a paragraph that says how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.replay import heatmap, plots, style, tables, targets
from benchmarks.replay.document import Document, image, paragraphs
from benchmarks.replay.metrics import AFTER_CHANGE, LEAST_STAY, STAY, WORST_RATIO
from benchmarks.replay.policies import OURS
from benchmarks.replay.scenarios import DEFAULT_WINDOWS, Scenario
from benchmarks.replay.study import Study
from benchmarks.replay.tuned_on import TUNED_ON
from benchmarks.replay.world import SLACK, WINDOW_REQUESTS, WINDOW_SECONDS

#: Runs of each policy under each scenario, unless another number is asked for.
SEEDS = 20

#: Whose paths the heat maps show.
_PATHS = (OURS, "hill_climbing")
_CHANGING = ("step", "return", "spike", "diurnal")

_INTRODUCTION = f"""\
Each policy steers a replayed model server. Every configuration of a lattice was measured on the live server under a
given load (a *landscape*); a window of a run is drawn from what was measured, with the noise that repeats showed. A run
starts at TensorFlow Serving's default. In each window the server runs what the policy chose; the policy sees the
window, as the service's telemetry would show it, and chooses again. A window lasts {WINDOW_SECONDS:g} s, or as long as
{WINDOW_REQUESTS} requests take. All policies meet the same noise, have the same objective and pay for their trials.

**How to read the numbers.** *Optimum*: the configuration with the least p99 of the whole landscape, over all its
measurements. *Windows to 5 %*: windows spent before the configuration in force is within 5 % of the optimum's p99
and stays there, which means: in at least {100 * STAY:g} % of all windows from then on, the last among them, and for
at least {LEAST_STAY} windows. `> n` means that at least half of the runs had not settled after n windows. *First
touch* does not ask to stay. *Choice* is what the policy would run without exploring: for policies that never stop
exploring it is the kinder measure. *Regret* is the sum over all windows, those of exploring included, of ln(p99 of
the configuration in force / p99 of the optimum), each ratio counted as {WORST_RATIO:g} at most, because how far a
queue grows depends on the length of the measurement. *In violation* is a window whose configuration truly misses
the objective; the first window, which runs the default before anybody has chosen, is left out. The bound of the
objective is {SLACK:g} × the best p99 under the scenario's hardest load; where the default would meet that, the
geometric mean of both. Windows are medians over seeds, everything else means; brackets hold 95 % bootstrap
intervals over seeds. Ratios compare the same seeds."""

_SCENARIO_NOTES = {
    "step": "The load steps up once, half-way.",
    "return": "The load steps up and comes back: what was learned before should count again at once.",
    "spike": "Two short bursts of the heavier load interrupt the lighter one.",
    "diurnal": "The load swings between the recorded ones.",
}


def build(study: Study, images: Path, prefix: str, live: str = "") -> Document:
    """Write the plots and compose the report; plots of an earlier report that this one does not show are removed.

    Args:
        study: What to report.
        images: Folder of the plots, which holds nothing else.
        prefix: How the Markdown file names that folder.
        live: The section on the live server, Markdown; empty where there is none.
    """
    with style.styled():
        parts = [
            _INTRODUCTION,
            _provenance(study),
            "## In short",
            "Each target as it was set before anything was measured, and whether the estimate reaches it.",
            targets.table(study).markdown(),
            "## What the landscapes are like",
            "Few configurations come near the best one, and the default is far from it: that is the task.",
            tables.landscapes(study).markdown(),
            *_heat_maps(study, images, prefix),
            *_still(study, images, prefix),
            *_changes(study, images, prefix),
            *_ablation(study),
            *_costs(study),
            *(["## On the live server", live] if live else []),
        ]
    body = paragraphs(*parts)
    for plot in images.glob("*.svg"):
        if f"({prefix}/{plot.name})" not in body:
            plot.unlink()
    return Document("Benchmarks", body)


def _provenance(study: Study) -> str:
    meta = study.meta
    names = ", ".join(sorted(TUNED_ON & set(study.known)))
    tuned = f"Constants of {OURS} were chosen while looking at {names}; all other landscapes are held out."
    if not names:
        tuned = f"No constant of {OURS} was chosen by looking at these landscapes: all are held out."
    warning = ""
    if study.changed:
        warning = f"**Recorded anew since these runs, so the numbers do not fit: {', '.join(study.changed)}.**"
    missing = ""
    if meta["left_out"]:
        missing = f"Left out: {'; '.join(f'{name} ({reason})' for name, reason in meta['left_out'].items())}."
    runs = f"{len(study.results.runs)} runs of {meta['windows']} windows, {meta['seeds']} seeds"
    return paragraphs(
        f"{runs}; made by `{_command(meta)}`, reported by `regulus bench report`. {tuned}", missing, warning
    )


def _command(meta: Mapping[str, Any]) -> str:
    """The command that makes runs like these."""
    usual = {"windows": DEFAULT_WINDOWS, "seeds": SEEDS}
    return " ".join(["regulus bench run", *(f"--{name} {meta[name]}" for name in usual if meta[name] != usual[name])])


def _heat_maps(study: Study, images: Path, prefix: str) -> list[str]:
    found = []
    for scenario in study.of_kind("stationary"):
        there = [name for name in _PATHS if name in study.policies(scenario.name)]
        if there:
            name = f"landscape-{scenario.group}.svg"
            style.write(heatmap.heat_map(study, scenario, there), images / name)
            found.append(image(f"{prefix}/{name}", f"Landscape {scenario.group} with paths of {' and '.join(there)}"))
    if not found:
        return []
    how = (
        "A cell is the best p99 that its batch size and number of batches in execution allow, over the optimum's. The"
        " line is one run (seed 0): the square is where it starts, the star where it ends; points within a cell "
        "differ in the other knobs."
    )
    return [how, *found]


def _still(study: Study, images: Path, prefix: str) -> list[str]:
    there = study.of_kind("stationary")
    if not there:
        return []
    parts = [
        "## One load",
        "One table for each landscape, the policy with the least regret first. `oracle` knows the landscape and "
        "`default` never moves: they are the marks of what is possible and of what is there today. In the first plot"
        " each panel is one policy: the line is the median over seeds, the band holds 10 to 90 % of them, the dotted"
        f" line is 5 % above the optimum, and the orange line repeats {OURS}. The second plot adds up the regret.",
    ]
    for scenario in there:
        parts += [tables.stationary(study, scenario).markdown(), *_over_windows(study, scenario, images, prefix)]
    style.write(plots.violations(study, there), images / "violations.svg")
    parts += [
        "### Windows in violation",
        "What clients pay for the search: windows whose configuration missed the objective, out of all windows of a "
        "run. The first window is left out: it runs the default before anybody has chosen.",
        image(f"{prefix}/violations.svg", "Windows in violation by policy"),
    ]
    return parts


def _over_windows(study: Study, scenario: Scenario, images: Path, prefix: str) -> list[str]:
    found = []
    for kind, draw in (("convergence", plots.convergence), ("regret", plots.regret)):
        name = f"{kind}-{scenario.kind}-{scenario.group}.svg"
        style.write(draw(study, scenario), images / name)
        found.append(image(f"{prefix}/{name}", f"{kind.capitalize()} of each policy, {scenario.kind} {scenario.group}"))
    return found


def _changes(study: Study, images: Path, prefix: str) -> list[str]:
    parts = []
    for kind in _CHANGING:
        for scenario in study.of_kind(kind):
            parts += [f"{_SCENARIO_NOTES[kind]}", tables.changes(study, scenario).markdown()]
            name = f"regret-{kind}-{scenario.group}.svg"
            style.write(plots.regret(study, scenario), images / name)
            parts.append(image(f"{prefix}/{name}", f"Cumulative regret, {kind} {scenario.group}"))
    if not parts:
        return []
    how = (
        "After each change of the load, windows are counted from the change on and as in the tables above; a spike "
        f"is over before many of them have passed. The price of a change is the regret of the {AFTER_CHANGE} windows "
        "after it. Means are over the changes of a run and over seeds. Dotted lines in the plots are the changes."
    )
    return ["## Loads that change", how, *parts]


def _ablation(study: Study) -> list[str]:
    table = tables.ablation(study)
    if table is None:
        return []
    how = (
        f"{OURS} with one part taken out. Regret and windows in violation are those of the variant over those of the "
        "whole, over the scenarios with one load and those with a load that returns: the geometric mean of the ratios "
        "of regret, the ratio of all windows in violation. More than 1 means that the part helps; where the interval "
        "of the regret holds 1, no difference was seen."
    )
    return ["## What each part brings", how, table.markdown()]


def _costs(study: Study) -> list[str]:
    landscape = study.meta.get("cost_landscape")
    alone = (
        f"alone on one worker after {study.meta['cost_observations']} observations on {landscape}" if landscape else ""
    )
    how = (
        "The time from the end of a window to the next configuration: learning from the window and choosing. First "
        "over all runs of the benchmark, in which as many workers as processors compete"
        + (f"; then {alone}. Memory is the most that Python and NumPy held in one run." if alone else ".")
    )
    return ["## Time and memory", how, tables.costs(study).markdown()]
