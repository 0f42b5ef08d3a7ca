"""Live: the same pairs of policies steer the live embedded model server, with the parts of `regulus bench live`."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
from pathlib import Path
from textwrap import fill

import numpy as np
from rich.console import Console

from benchmarks.guarded.variants import PAIRS
from benchmarks.interruptible import run_interruptible
from benchmarks.live import summary
from benchmarks.live.plan import PATIENCE_SECONDS, STEP, Cell, expected_seconds
from benchmarks.live.results import Results, Row
from benchmarks.live.session import Options, left_to_do
from benchmarks.live.session import run as run_session
from benchmarks.live.summary import Study
from benchmarks.live.tables import change, of_cell
from benchmarks.live.task import GUARDED
from benchmarks.markers import write_between
from benchmarks.record.capacity import SECONDS as LOOK_SECONDS
from benchmarks.report import machine_line
from benchmarks.tables import Table
from models.zoo import ZOO

SECTION = "guarded-live"
#: About ten minutes in all: twelve runs, and the looks for the objective.
SECONDS, REPEATS, LEVEL = 40.0, 3, 60
QUICK_SECONDS = 8.0
#: A run during which others disturb is made again once.
_ATTEMPTS = 2
_WINDOW_SECONDS = 2.5
_WIDTH = 118
#: Columns of a terminal that the widest table needs.
_TABLE_WIDTH = 160
_INTERRUPTED = 130


def add_options(parser: argparse.ArgumentParser) -> None:
    """What only the live comparison knows."""
    add = parser.add_argument_group("live").add_argument
    add("--live", action="store_true", help="steer the live embedded model server instead (about ten minutes)")
    add("--model", default="transformer", help="a model of the zoo; by default %(default)s")
    add("--models-dir", type=Path, help="folder of exported models; by default a new one")
    add("--level", type=int, default=LEVEL, help="highest step of the load, %% of the capacity; by default %(default)s")
    add("--run-seconds", type=float, help=f"length of a run; {SECONDS:g} without --quick")
    add("--repeats", type=int, help=f"how often; {REPEATS} without --quick")


def check_options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Fill in what was not given; ends with a message where something cannot be."""
    given.run_seconds = given.run_seconds or (QUICK_SECONDS if given.quick else SECONDS)
    given.repeats = given.repeats or (1 if given.quick else REPEATS)
    if given.run_seconds <= 0 or given.repeats < 1 or not 1 <= given.level <= 200:
        parser.error("--run-seconds is above 0, --repeats at least 1, --level 1 to 200")
    if given.model not in ZOO:
        parser.error(f"--model: {given.model!r} is not in the zoo; there are {', '.join(ZOO)}")


def measure(given: argparse.Namespace) -> int:
    """Make the runs that were not made yet, and publish them all; returns the exit status.

    Raises:
        InvalidValueError: The results in the folder are of another comparison.
        ChildFailedError: The server or a steering process failed.
    """
    results = Results(given.out / ("live-quick.jsonl" if given.quick else "live.jsonl"))
    with tempfile.TemporaryDirectory(prefix="regulus-guarded-", ignore_cleanup_errors=True) as scratch:
        options = Options(
            model=given.model,
            policies=tuple(name for bare, _ in PAIRS for name in (bare.policy, f"{GUARDED}{bare.policy}")),
            cells=(Cell(STEP, given.level),),
            repeats=given.repeats,
            seconds=given.run_seconds,
            look_seconds=1.0 if given.quick else LOOK_SECONDS,
            patience_seconds=1.0 if given.quick else PATIENCE_SECONDS,
            attempts=1 if given.quick else _ATTEMPTS,
            window_seconds=1.0 if given.quick else _WINDOW_SECONDS,
            trace=None,
            bound_seconds=None,
            out=given.out / "live.jsonl",
            models_dir=given.models_dir or Path(scratch) / "models",
            seed=0,
        )
        todo = left_to_do(options, results)
        minutes = expected_seconds(len(todo), options.seconds) / 60
        print(f"{len(todo)} runs to make, about {minutes:.0f} minutes; {given.out}", file=sys.stderr)
        try:
            run_interruptible(run_session(options, results, Path(scratch)))
        except asyncio.CancelledError:
            print("\nCut short; the same command goes on from here.", file=sys.stderr)
            return _INTERRUPTED
    _publish(Study.of(results), given.out, given.docs)
    return 0


def _publish(study: Study, out: Path, docs: Path | None) -> None:
    text = markdown(study)
    (out / "live.md").write_text(text, encoding="utf-8")
    if docs is not None:
        write_between(docs, SECTION, text)
    narrow = Console()
    console = narrow if narrow.width >= _TABLE_WIDTH else Console(width=_TABLE_WIDTH)
    for table in tables(study):
        console.print(table.rich())


def markdown(study: Study) -> str:
    """What was done and the tables, without a heading of their own."""
    header = study.header
    text = f"""`{header["model"]}` on the live embedded server, {header["seconds"]:g} s a run of Poisson arrivals whose
        rate follows RRL's step schedule, from TensorFlow Serving's default and a policy that knows nothing; the order
        is drawn anew for each repeat, and all meet the same arrivals. Guarded: the control service's own loop with its
        guardrails as shipped, mode `auto`; unguarded: the same windows, judged by the same rules, and every suggestion
        put in force at once. {machine_line(header["machine"])}"""
    shown = [table.markdown().strip() for table in tables(study)]
    return "\n\n".join([fill(" ".join(text.split()), _WIDTH, break_long_words=False), *shown]) + "\n"


def tables(study: Study) -> list[Table]:
    """Guarded against unguarded, then all that is known of each."""
    return [against_unguarded(study), *(of_cell(study, cell) for cell in study.cells)]


def against_unguarded(study: Study) -> Table:
    """Requests that broke the objective with and without guardrails, of each policy."""
    rows = []
    for policy in (bare.policy for bare, _ in PAIRS):
        both = {name: study.of_policy(name) for name in (policy, f"{GUARDED}{policy}")}
        theirs = {(run["cell"], run["repeat"]): run for run in both[policy]}
        pairs = [
            (run, theirs[key]) for run in both[f"{GUARDED}{policy}"] if (key := (run["cell"], run["repeat"])) in theirs
        ]
        if not pairs:
            continue
        rows.append(
            [
                policy,
                str(len(pairs)),
                *(f"{1000 * float(np.mean([pair[i]['violation_ratio'] for pair in pairs])):.1f}" for i in (1, 0)),
                change(summary.violation_ratio(pairs)),
                change(summary.p99_ratio(pairs)),
                *(_met([pair[i] for pair in pairs]) for i in (1, 0)),
                *(f"{float(np.mean([len(pair[i]['switches']) for pair in pairs])):.1f}" for i in (1, 0)),
            ]
        )
    header = [
        "policy",
        "runs of each",
        "requests in violation, per 1000, unguarded",
        "guarded",
        "change of violations",
        "change of p99",
        "met for good after, s, unguarded",
        "guarded",
        "switches, unguarded",
        "guarded",
    ]
    note = (
        "Changes: guarded against unguarded on the same arrivals; brackets, from five runs on: 90 % bootstrap interval."
    )
    return Table("The price of safety, live", header, rows, note)


def _met(runs: list[Row]) -> str:
    seconds = summary.met_after(runs)
    return f"{seconds:.0f}" if math.isfinite(seconds) else "never"
