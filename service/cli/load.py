"""``regulus load``: open-loop load against a model server."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from service.domain.errors import InvalidValueError
from service.loadgen.arrivals import ScheduledArrivals
from service.loadgen.display import LiveProgress, print_report
from service.loadgen.payloads import Encoding, RequestSpec
from service.loadgen.plan import LoadPlan, Source
from service.loadgen.report import LoadReport, SecondStats
from service.loadgen.runner import run_load
from service.loadgen.signatures import DEFAULT_SIGNATURE
from service.loadgen.specs import ARRIVALS_HELP, SCHEDULE_HELP, parse_arrivals, parse_dims, parse_range, parse_schedule
from service.loadgen.target import Target, TargetError, parse_target
from service.loadgen.traces import read_trace

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

EXIT_BAD_REQUEST = 2
EXIT_SIGNAL_BASE = 128

_LOAD, _REQUESTS, _LIMITS, _OUTPUT = "When to send", "What to send", "Limits", "What to show"

_HELP = f"""Generate open-loop load against a model server that speaks TensorFlow Serving's API.

Send times are fixed before the run and latency counts from them, so a server that stalls cannot hide its tail.
The run is marked INVALID when the generator itself falls behind.

[bold]Arrivals[/bold]: {escape(ARRIVALS_HELP)}

[bold]Schedules[/bold]: {escape(SCHEDULE_HELP)}

[bold]Examples[/bold]

  regulus load grpc://127.0.0.1:8500 --model mlp --rate 200 --duration 30

  regulus load grpc://127.0.0.1:8500 --model mlp --rate 200 --duration 60 --arrivals gamma:cv=4 --slo-ms 50

  regulus load grpc://127.0.0.1:8500 --model mlp --schedule steps:10@100,20@300,10@100 --json report.json

  regulus load http://127.0.0.1:8501 --model mlp --rate 100 --duration 60 --schedule rrl

  regulus load grpc://127.0.0.1:8500 --model mlp --trace arrivals.csv --trace-scale 20 --duration 120

  regulus load grpc://127.0.0.1:8500 --model transformer --rate 20 --duration 30 --batch 4 --int-range 0:8000

[bold]Exit codes[/bold]: 0 the run was carried out, 2 it could not be, 130 it was interrupted (the report is printed).
"""


@app.command(help=_HELP)
def load(
    target: Annotated[str, typer.Argument(help="grpc://HOST:PORT, http://HOST:PORT (REST) or unix:PATH (gRPC).")],
    model: Annotated[str, typer.Option(help="Name of the model.", rich_help_panel=_REQUESTS)],
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests a second: constant, peak of rrl, mean of diurnal or of a trace, base of spike.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(help="Length of the run, seconds. Without it a trace runs to its end.", rich_help_panel=_LOAD),
    ] = None,
    arrivals: Annotated[
        str, typer.Option(metavar="SPEC", help="Process of the arrivals, see above.", rich_help_panel=_LOAD)
    ] = "poisson",
    schedule: Annotated[
        str, typer.Option(metavar="SPEC", help="Mean rate over time, see above.", rich_help_panel=_LOAD)
    ] = "constant",
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV of recorded arrivals, in place of arrivals and schedule.", rich_help_panel=_LOAD),
    ] = None,
    trace_scale: Annotated[
        float | None,
        typer.Option(help="Times the trace's own rate; the pattern of gaps is kept.", rich_help_panel=_LOAD),
    ] = None,
    trace_column: Annotated[
        str | None, typer.Option(help="Name or number of its timestamp column.", rich_help_panel=_LOAD)
    ] = None,
    trace_offset: Annotated[
        float, typer.Option(help="Where in the trace to begin, in its own seconds.", rich_help_panel=_LOAD)
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(help="Of send times and payloads; the same seed repeats the run.", rich_help_panel=_LOAD)
    ] = 0,
    signature: Annotated[str, typer.Option(help="Signature to call.", rich_help_panel=_REQUESTS)] = DEFAULT_SIGNATURE,
    batch: Annotated[int, typer.Option(help="Examples a request.", rich_help_panel=_REQUESTS)] = 1,
    dim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SIZES",
            help="Sizes of an input's free dimensions after the first: tokens=64.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    int_range: Annotated[
        str,
        typer.Option(
            metavar="LOW:HIGH",
            help="Range of random integers, HIGH excluded (a vocabulary's size).",
            rich_help_panel=_REQUESTS,
        ),
    ] = "0:100",
    payload: Annotated[
        Encoding | None,
        typer.Option(
            metavar="ENCODING",
            help="gRPC: tensor_content (default), typed; REST: row (default), columnar.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    pool_size: Annotated[
        int, typer.Option(help="Different requests, made before the run and sent in turn.", rich_help_panel=_REQUESTS)
    ] = 16,
    timeout: Annotated[float, typer.Option(help="Deadline of each request, seconds.", rich_help_panel=_LIMITS)] = 10.0,
    max_inflight: Annotated[
        int,
        typer.Option(
            help="Requests in flight at most; those beyond are NOT_SENT and count as failed.", rich_help_panel=_LIMITS
        ),
    ] = 2048,
    connections: Annotated[
        int, typer.Option(help="gRPC connections; REST connections open as needed.", rich_help_panel=_LIMITS)
    ] = 4,
    max_lag_ms: Annotated[
        float,
        typer.Option(help="The generator's own lag that never makes a run invalid.", rich_help_panel=_LIMITS),
    ] = 1.0,
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Allow a target that is not on this machine.", rich_help_panel=_LIMITS),
    ] = False,
    slo_ms: Annotated[
        float | None,
        typer.Option(help="Latency objective, milliseconds: count what breaks it.", rich_help_panel=_OUTPUT),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.", rich_help_panel=_OUTPUT)
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Print one line of JSON a second to stdout, and at last the report's.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    progress: Annotated[
        bool, typer.Option(help="Show the run as it goes, on a terminal.", rich_help_panel=_OUTPUT)
    ] = True,
) -> None:
    """Parse, run, report."""
    console = Console(stderr=stream)
    try:
        where = parse_target(target, allow_remote=allow_remote)
        if json_file is not None and not json_file.parent.is_dir():
            raise InvalidValueError("json", f"there is no such folder as {json_file.parent}")
        if trace is not None:
            source: Source = _from_trace(trace, trace_column, trace_offset, trace_scale, rate, duration)
        else:
            if trace_scale is not None:
                raise InvalidValueError("trace-scale", "needs --trace")
            noise = np.random.default_rng([max(seed, 0), 0])
            source = ScheduledArrivals(parse_arrivals(arrivals), parse_schedule(schedule, rate, duration, noise))
        low, high = parse_range(int_range)
        request = RequestSpec(
            model=model,
            signature=signature,
            batch=batch,
            dims=parse_dims(dim or ()),
            int_low=low,
            int_high=high,
            encoding=payload,
            pool_size=pool_size,
        )
        plan = LoadPlan(
            source=source,
            seed=seed,
            timeout=timeout,
            max_inflight=max_inflight,
            connections=connections,
            slo_seconds=None if slo_ms is None else slo_ms / 1e3,
            max_lag=max_lag_ms / 1e3,
        )
        report, signum = _run(_session(where, plan, request, console, stream=stream, progress=progress))
    except (InvalidValueError, TargetError) as error:
        typer.echo(f"regulus load: {error}", err=True)
        raise typer.Exit(EXIT_BAD_REQUEST) from error
    except asyncio.CancelledError:
        raise typer.Exit(EXIT_SIGNAL_BASE + signal.SIGINT) from None
    if stream:
        _print_line({"type": "report", **report.to_dict()})
    print_report(console, report)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    if signum:
        raise typer.Exit(EXIT_SIGNAL_BASE + signum)


def _from_trace(
    path: Path, column: str | None, offset: float, scale: float | None, rate: float | None, duration: float | None
) -> Source:
    """A slice of the trace that, sped up or slowed down, lasts ``duration``."""
    if scale is not None and rate is not None:
        raise InvalidValueError("trace-scale", "and --rate both set the trace's rate; give one of them")
    whole = read_trace(path, column)
    factor = scale if scale is not None else (rate / whole.mean_rate if rate is not None else 1.0)
    if not factor > 0:
        raise InvalidValueError("trace-scale" if scale is not None else "rate", "must be above 0")
    return whole.sliced(offset, None if duration is None else duration * factor).scaled(factor)


async def _session(
    target: Target, plan: LoadPlan, request: RequestSpec, console: Console, *, stream: bool, progress: bool
) -> tuple[LoadReport, int]:
    """Run under signal handlers; the report, and the signal that stopped the run (0 for none).

    The first signal stops the run, a second one gives it up without a report.
    """
    stop, received = asyncio.Event(), [0]
    this_task = asyncio.current_task()

    def interrupt(signum: int) -> None:
        if stop.is_set() and this_task is not None:
            this_task.cancel()
        received[0] = signum
        stop.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, interrupt, signum)
    with ExitStack() as stack:
        live = stack.enter_context(LiveProgress(console, plan.source.duration)) if progress else None

        def on_second(second: SecondStats) -> None:
            if stream:
                _print_line({"type": "second", **second.to_dict()})
            if live is not None:
                live.show(second)

        report = await run_load(target, plan, request, on_second=on_second, stop=stop)
    return report, received[0]


def _print_line(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _run(session: Coroutine[Any, Any, tuple[LoadReport, int]]) -> tuple[LoadReport, int]:
    """On uvloop where it is installed: it costs less a request than asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(session)
    return uvloop.run(session)
