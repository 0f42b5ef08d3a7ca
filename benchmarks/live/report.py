"""Report: the comparison on a live server as a part of the documentation, rebuilt from its results."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

from benchmarks.live import plots
from benchmarks.live.outcome import STRETCH_SECONDS
from benchmarks.live.plan import GAMMA, LEAST_BOUND_SECONDS, QUIET_SHARE, SLACK, STEP, TRACE
from benchmarks.live.results import Results
from benchmarks.live.summary import Study
from benchmarks.live.tables import all_tables
from benchmarks.replay.style import styled, write
from benchmarks.report import machine_line
from benchmarks.tables import Table

PLOT = "live-step.svg"
_WIDTH = 118
_LOADS = {
    STEP: "Poisson arrivals whose rate follows RRL's step schedule",
    GAMMA: "Gamma renewals with a coefficient of variation of 4",
    TRACE: "a recorded trace, its gaps stretched to the rate",
}


def tables(path: Path) -> list[Table]:
    """All tables of a file of results.

    Raises:
        InvalidValueError: The file holds something else.
    """
    return all_tables(Study.of(Results(path)))


def section(path: Path, images: Path, prefix: str) -> str:
    """How it was measured, the tables and the plot, as Markdown without a heading of its own.

    Args:
        path: The results; without a run in them the answer is empty.
        images: Folder of the plots.
        prefix: How the Markdown file names that folder.

    Raises:
        InvalidValueError: The file holds something else.
    """
    study = Study.of(Results(path))
    if not study.runs:
        return ""
    first, *others = (table.markdown() for table in all_tables(study))
    parts = [introduction(study), first]
    with styled():
        figure = plots.over_time(study)
        if figure is not None:
            write(figure, images / PLOT)
            parts.append(f"![p99 of each second under the step schedule, by policy]({prefix}/{PLOT})")
    return "\n\n".join(part.strip() for part in [*parts, *others]) + "\n"


def introduction(study: Study) -> str:
    """What was done, from what the results say of themselves."""
    header = study.header
    there = {cell.schedule for cell in study.cells}
    loads = "; ".join(words for schedule, words in _LOADS.items() if schedule in there)
    trace = f" (`{header['trace']}`)" if TRACE in there else ""
    text = f"""`regulus bench live {header["model"]}` {_choices(study)}: each policy steers the live embedded model
        server for {header["seconds"]:g} s of open-loop load, starting from TensorFlow Serving's default and knowing
        nothing. The order of the policies is drawn anew for each load and repeat, and all of them meet the same
        arrivals: {loads}{trace}. Levels are shares of {header["capacity_per_second"]:.0f} requests/s, which the best
        of five likely configurations takes. A policy sees what the control service would see (windows of
        {header["loop"]["window_seconds"]:g} s, certain violations earlier) and is obeyed at once, without guardrails.
        The objective is p99 ≤ {SLACK:g} × the least p99 of the same five configurations at the load's highest rate,
        at least {LEAST_BOUND_SECONDS * 1e3:g} ms. Latency is what clients feel from the intended time of sending; a
        request that was refused, failed, unanswered after {header["timeout_seconds"]:g} s or not sent because
        {header["max_in_flight"]} were waiting is lost, breaks the objective and counts as slow as that time-out. *Met
        for good*: from then on, each stretch of {STRETCH_SECONDS} s meets the objective. A run during which others
        used more than {100 * QUIET_SHARE:.0f} % of the machine is made again; the quietest of at most
        {header["attempts"]} counts. Seed {header["seed"]}. {machine_line(header["machine"])}"""
    return fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _choices(study: Study) -> str:
    """The options that chose who ran, under which loads and how often; and how much of that is there."""
    policies, cells = sorted(study.policies), [cell.key for cell in study.cells]
    repeats = 1 + max(run["repeat"] for run in study.runs)
    trace = f" --trace {study.header['trace']}" if any(cell.schedule == TRACE for cell in study.cells) else ""
    options = f"--policies {','.join(policies)} --cells {','.join(cells)}{trace} --repeats {repeats}"
    whole = len(policies) * len(cells) * repeats
    made = "" if len(study.runs) == whole else f" ({len(study.runs)} of its {whole} runs were made)"
    return f"with `{options}`{made}"
