"""``regulus bench run`` and ``regulus bench report``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.landscape import load_all
from benchmarks.replay import fingerprint, policies, report, results, targets
from benchmarks.replay.cost import BRIEF, WHOLE
from benchmarks.replay.run import Options, Outcome
from benchmarks.replay.run import run as run_benchmark
from benchmarks.replay.scenarios import DEFAULT_WINDOWS, KINDS
from benchmarks.replay.study import Study
from benchmarks.replay.world import loads, terrains
from service.domain.errors import InvalidValueError

ROOT = Path(__file__).parents[2]
LANDSCAPES = ROOT / "benchmarks" / "landscapes"
COMMITTED = ROOT / "benchmarks" / "results" / "replay.parquet"
COMMITTED_LIVE = ROOT / "benchmarks" / "results" / "live.jsonl"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
OUT = ROOT / "out" / "bench"

#: Who takes part in a quick run, as far as there: fast policies of different kinds.
QUICK_POLICIES = (policies.OURS, "hill_climbing", "random", "default")
QUICK_KINDS = ("stationary", "return")
QUICK_SEEDS, QUICK_WINDOWS = 3, 40
INTERRUPTED = 130

_LandscapesOption = Annotated[Path, typer.Option("--landscapes", metavar="DIR", help="Folder of the landscapes.")]


def run(
    quick: Annotated[bool, typer.Option("--quick", help="A first impression in a minute.")] = False,
    landscapes: _LandscapesOption = LANDSCAPES,
    policy_names: Annotated[
        str | None, typer.Option("--policies", metavar="A,B", help="Only these; see `--list`.")
    ] = None,
    kinds: Annotated[
        str | None, typer.Option("--scenarios", metavar="A,B", help=f"Only these kinds: {', '.join(KINDS)}.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help=f"Runs of each; {report.SEEDS} without --quick.")] = None,
    windows: Annotated[
        int | None, typer.Option(min=10, help=f"Length of a run; {DEFAULT_WINDOWS} without --quick.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    costs: Annotated[bool, typer.Option(help="Also measure time and memory, one policy after another.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Results; a whole run goes to benchmarks/results/, others to out/bench/."),
    ] = None,
    pieces: Annotated[
        Path, typer.Option(metavar="DIR", help="Where finished pieces are kept, so that a run can go on.")
    ] = OUT / "pieces",
    list_policies: Annotated[bool, typer.Option("--list", help="Name the policies and end.")] = False,
) -> None:
    """Let every policy steer replayed landscapes: each scenario, each seed.

    Deterministic by seed, whatever the number of workers (times aside). What was done before, with the same code,
    landscapes and options, is not done again: interrupt it and go on later.
    """
    console = Console(stderr=True)
    if list_policies:
        typer.echo("\n".join(policies.names()))
        return
    whole = not quick and policy_names is None and kinds is None
    target = out or (COMMITTED if whole else OUT / ("quick.parquet" if quick else "replay.parquet"))
    chosen = QUICK_POLICIES if quick else policies.names()
    with _errors(console):
        options = Options(
            landscapes=landscapes,
            only=_first_model(landscapes) if quick else (),
            policies=_listed(policy_names) or [name for name in chosen if name in policies.names()],
            kinds=_kinds(kinds) or (QUICK_KINDS if quick else KINDS),
            seeds=seeds or (QUICK_SEEDS if quick else report.SEEDS),
            windows=windows or (QUICK_WINDOWS if quick else DEFAULT_WINDOWS),
            workers=workers,
            scratch=pieces,
            costs=costs,
            effort=BRIEF if quick else WHOLE,
        )
        outcome = _with_progress(options, console)
    results.save(outcome.results, target)
    for name, reason in outcome.results.meta["left_out"].items():
        console.print(f"left out: {name}: {reason}", style="yellow", markup=False)
    for failure in outcome.failures:
        console.print(f"failed: {failure}", style="red", markup=False)
    console.print(
        f"{len(outcome.results.runs)} runs in {target}"
        + (f"; {outcome.skipped} pieces were done before" if outcome.skipped else ""),
        markup=False,
        soft_wrap=True,
    )
    if outcome.failures:
        raise typer.Exit(1)


def report_command(
    source: Annotated[Path, typer.Option("--results", metavar="FILE", help="Of `regulus bench run`.")] = COMMITTED,
    landscapes: _LandscapesOption = LANDSCAPES,
    live: Annotated[
        Path, typer.Option(metavar="FILE", help="Of `regulus bench live`; without such a file its section is left out.")
    ] = COMMITTED_LIVE,
    markdown: Annotated[
        Path, typer.Option(metavar="FILE", help="Markdown; plots go to the folder of the same name beside it.")
    ] = DOCUMENT,
    html: Annotated[Path, typer.Option(metavar="FILE", help="The same as one page with the plots inside.")] = OUT
    / "benchmarks.html",
) -> None:
    """Rebuild every table and plot from results and landscapes."""
    console = Console(stderr=True)
    with _errors(console):
        found = results.load(source)
        known = terrains(landscapes, list(found.meta["landscapes"]))
        now = {name: fingerprint.of_file(landscapes / f"{name}.parquet") for name in known}
        study = Study(found, known, now)
        images, prefix = markdown.with_suffix(""), markdown.stem
        document = report.build(study, images, prefix, _live_section(live, images, prefix))
    document.write_markdown(markdown)
    document.write_html(html, markdown.parent)
    Console().print(targets.table(study).rich())
    console.print(f"report: {markdown}, {html}", markup=False, soft_wrap=True)


def _live_section(results_file: Path, images: Path, prefix: str) -> str:
    if not results_file.exists():
        return ""
    from benchmarks.live.report import section  # needs the extras `load` and `modelserver` too

    return section(results_file, images, prefix)


def _with_progress(options: Options, console: Console) -> Outcome:
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, speed_estimate_period=600)
    bar = progress.add_task("", total=None)

    def tell(done: int, total: int) -> None:
        progress.start()  # Not before the options are known to be right.
        progress.update(bar, completed=done, total=total)

    # Told to end in another way, it ends its workers all the same.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run_benchmark(options, tell)
    except KeyboardInterrupt:
        console.print("interrupted; what is done is kept, the same command goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        if progress.live.is_started:
            progress.stop()


def _first_model(landscapes: Path) -> Sequence[str]:
    """Lightest and heaviest load of the first model that has two, or of the first."""
    by_model = loads(load_all(landscapes).values())
    names = next((names for names in by_model.values() if len(names) > 1), next(iter(by_model.values())))
    return tuple(dict.fromkeys((names[0], names[-1])))


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _kinds(names: str | None) -> list[str]:
    listed = _listed(names)
    for name in listed:
        if name not in KINDS:
            raise InvalidValueError("scenarios", f"{name!r} is none of {', '.join(KINDS)}")
    return listed


@contextmanager
def _errors(console: Console) -> Iterator[None]:
    """Errors of the input as one line."""
    try:
        yield
    except InvalidValueError as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
