"""`regulus bench live`: policies steer the live embedded model server, one after another, each for the same time."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from benchmarks.interruptible import run_interruptible
from benchmarks.live.plan import ATTEMPTS, CELLS, PATIENCE_SECONDS, SCHEDULES, STEP, TRACE, Cell, expected_seconds
from benchmarks.live.report import section, tables
from benchmarks.live.results import Results
from benchmarks.live.session import Options, left_to_do
from benchmarks.live.session import run as run_session
from benchmarks.record.capacity import SECONDS as CAPACITY_SECONDS
from benchmarks.replay.policies import ORACLE, OURS, names
from models.zoo import ZOO
from service.cli.demo.processes import ChildFailedError
from service.domain.errors import InvalidValueError, RegulusError
from service.loadgen.traces import read_trace

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "benchmarks" / "results" / "live.jsonl"
OUT = ROOT / "out" / "bench"
#: Who takes part unless others are named.
POLICIES = ("default", "guide", "hill_climbing", "rrl", OURS)
QUICK_POLICIES = ("default", "hill_climbing", OURS)
QUICK_CELLS = (Cell(STEP, 60),)
#: A plan that takes longer has to be asked for in so many words.
LONG_SECONDS = 3 * 3600.0
USAGE, INTERRUPTED = 2, 130
#: Columns of a terminal that the widest table needs.
_TABLE_WIDTH = 140


def live(
    model: Annotated[str, typer.Argument(help="A model of the zoo, see `regulus models list`.")] = "transformer",
    policies: Annotated[
        str | None, typer.Option(metavar="A,B", help=f"Who takes part; by default {', '.join(POLICIES)}.")
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help=f"Loads: {', '.join(SCHEDULES)}, each with a level in percent of the best configuration's capacity; "
            f"by default {','.join(cell.key for cell in CELLS)}.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Recorded arrivals, CSV with a column TIMESTAMP; without it no trace cells."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a run; 60 without --quick.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="How often; 2 without --quick.")] = None,
    window: Annotated[float | None, typer.Option(help="Shortest window; 2.5 s without --quick.")] = None,
    slo_ms: Annotated[float | None, typer.Option(help="Bound on the p99; found for each load otherwise.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Results (JSON Lines); of --quick out/bench/, else benchmarks/results/."),
    ] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of exported models; by default a new one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, orders and policies.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A first impression in a minute or two.")] = False,
    long: Annotated[bool, typer.Option("--long", help="Allow a plan of more than three hours.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Run nothing; show the tables of the results.")] = False,
) -> None:
    """Let policies steer the live embedded model server, each for the same time (Linux; about an hour).

    Every run starts at TensorFlow Serving's default configuration with a policy that knows nothing, and what it tries
    is part of what is measured. Cut short with Ctrl-C, it goes on where it was when called again. Keep the machine
    quiet meanwhile; the share that others took is in the tables.
    """
    target = out or (OUT / "live-quick.jsonl" if quick else COMMITTED)
    try:
        results = Results(target)
        if not show:
            if model not in ZOO:
                raise InvalidValueError("model", f"{model!r} is not in the zoo; there are {', '.join(ZOO)}")
            with tempfile.TemporaryDirectory(prefix="regulus-live-", ignore_cleanup_errors=True) as scratch:
                options = Options(
                    model=model,
                    policies=_policies(policies, quick=quick),
                    cells=_cells(cells, quick=quick, traced=trace is not None),
                    repeats=repeats or (1 if quick else 2),
                    seconds=_positive("seconds", seconds, 8.0 if quick else 60.0),
                    look_seconds=1.0 if quick else CAPACITY_SECONDS,
                    patience_seconds=1.0 if quick else PATIENCE_SECONDS,
                    attempts=1 if quick else ATTEMPTS,
                    window_seconds=_positive("window", window, 1.0 if quick else 2.5),
                    trace=read_trace(trace) if trace else None,
                    bound_seconds=None if slo_ms is None else _positive("slo-ms", slo_ms, slo_ms) / 1e3,
                    out=target,
                    models_dir=models_dir or Path(scratch) / "models",
                    seed=seed,
                )
                _announce(options, results, long=long)
                run_interruptible(run_session(options, results, Path(scratch)))
    except InvalidValueError as error:
        _complain(f"error: {error}", USAGE)
    except (ChildFailedError, RegulusError) as error:
        _complain(str(error), 1)
    except asyncio.CancelledError:
        _complain("\nCut short; the same command goes on from here.", INTERRUPTED)
    _publish(target)


def _announce(options: Options, results: Results, *, long: bool) -> None:
    todo = left_to_do(options, results)
    looks = [cell for cell in options.cells if cell.key not in results.bounds and options.bound_seconds is None]
    expected = expected_seconds(len(todo), options.seconds) + 5 * (len(looks) + 1) * (options.look_seconds + 1.5)
    whole = len(options.policies) * len(options.cells) * options.repeats
    print(f"{len(todo)} of {whole} runs to make, about {expected / 60:.0f} minutes; {options.out}", file=sys.stderr)
    if expected > LONG_SECONDS and not long:
        raise InvalidValueError("long", "a plan of more than three hours needs --long")


def _publish(target: Path) -> None:
    """Show the tables; write them with the plot where uncommitted results go."""
    if not Results(target).runs:
        _complain(f"{target} holds no run", 1)
    narrow = Console()
    console = narrow if narrow.width >= _TABLE_WIDTH else Console(width=_TABLE_WIDTH)
    for table in tables(target):
        console.print(table.rich())
    OUT.mkdir(parents=True, exist_ok=True)
    fragment = OUT / f"{target.stem}.md"
    fragment.write_text(section(target, OUT / target.stem, target.stem), encoding="utf-8")
    console.print(f"{target}\n{fragment}", markup=False, soft_wrap=True)


def _policies(given: str | None, *, quick: bool) -> tuple[str, ...]:
    known = [name for name in names() if name != ORACLE]
    if given is None:
        return tuple(name for name in (QUICK_POLICIES if quick else POLICIES) if name in known)
    chosen = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise InvalidValueError("policies", f"{', '.join(unknown) or 'none'} is none of {', '.join(known)}")
    return chosen


def _cells(given: str | None, *, quick: bool, traced: bool) -> tuple[Cell, ...]:
    if given is not None:
        return tuple(dict.fromkeys(Cell.parse(text) for text in given.split(",")))
    chosen = QUICK_CELLS if quick else CELLS
    return tuple(cell for cell in chosen if traced or cell.schedule != TRACE)


def _positive(name: str, given: float | None, otherwise: float) -> float:
    value = otherwise if given is None else given
    if not 0 < value < float("inf"):
        raise InvalidValueError(name, f"must be above 0, not {value}")
    return value


def _complain(text: str, status: int) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(status) from None
