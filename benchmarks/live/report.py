"""Report: the comparison on a live server as a part of the documentation, rebuilt from its results."""

from __future__ import annotations

from pathlib import Path

from benchmarks.live import plots
from benchmarks.live.outcome import STRETCH_SECONDS
from benchmarks.live.plan import LEAST_BOUND_SECONDS, SLACK
from benchmarks.live.results import Results
from benchmarks.live.summary import Study
from benchmarks.live.tables import all_tables
from benchmarks.replay.style import styled, write
from benchmarks.report import machine_line
from benchmarks.tables import Table

PLOT = "live-step.svg"


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
    window = header["loop"]["window_seconds"]
    trace = f" (`{header['trace']}`)" if header["trace"] else ""
    return (
        f"`regulus bench live {header['model']}`: each policy steers the live embedded model server for "
        f"{header['seconds']:g} s of open-loop load, starting from TensorFlow Serving's default and knowing nothing; "
        "the order of the policies is drawn anew for each load and repeat, and all of them meet the same arrivals: "
        "RRL's step schedule (Poisson), Gamma renewals with a coefficient of variation of 4, and a recorded trace"
        f"{trace}. Levels are shares of {header['capacity_per_second']:.0f} requests/s, which the best of five likely "
        "configurations takes. The policy sees what the control service would see (windows of "
        f"{window:g} s, certain violations earlier) and is obeyed at once, without guardrails. The objective is "
        f"p99 ≤ {SLACK:g} × the least p99 of the same five configurations at the load's highest rate, at least "
        f"{LEAST_BOUND_SECONDS * 1e3:g} ms. Latency is what clients feel from the intended time of sending; a request "
        f"that was refused, failed, unanswered after {header['timeout_seconds']:g} s or not sent because "
        f"{header['max_in_flight']} were waiting is lost, breaks the objective and counts as slow as that time-out. "
        f"*Met for good*: from then on, each stretch of {STRETCH_SECONDS} s meets the objective. "
        f"Seed {header['seed']}. {machine_line(header['machine'])}"
    )
