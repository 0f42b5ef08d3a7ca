"""``regulus demo``: watch Regulus keep a model server inside its objective, on this machine, in about four minutes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.cli.demo.ports import Ports, PortTakenError
from service.cli.demo.processes import ChildFailedError

if TYPE_CHECKING:
    from service.cli.demo.report import DemoReport
    from service.cli.demo.run import DemoOptions

app = typer.Typer()

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

#: How often a line is printed where there is no terminal to draw on, seconds of load.
_LINE_EVERY_SECONDS = 5.0


@app.command(
    epilog="Exit status: 0 no request failed with Regulus; 1 some did, or something could not be started; "
    "130 it was interrupted."
)
def demo(
    duration: Annotated[
        float, typer.Option(min=20.0, max=7200.0, help="Seconds of load in all, split evenly between both runs.")
    ] = 220.0,
    model: Annotated[str, typer.Option(help="Model to serve; `regulus models list` shows them.")] = "mobilenet_v2",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the load; both runs get the same requests.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write what was found to this file as JSON.")] = None,
    slo_p99_ms: Annotated[
        float | None,
        typer.Option(min=0.1, help="Bound on p99, milliseconds.  [default: ten times a lone request's latency]"),
    ] = None,
    peak_rate: Annotated[
        float | None,
        typer.Option(min=1.0, help="Highest rate, requests a second.  [default: 15 % over what the default serves]"),
    ] = None,
    grpc_port: Annotated[int, typer.Option(help="Model server, gRPC; 0 takes any free port, here and below.")] = 8500,
    rest_port: Annotated[int, typer.Option(help="Model server, REST and metrics.")] = 8501,
    agent_port: Annotated[int, typer.Option(help="Model server, agent API.")] = 8502,
    api_port: Annotated[int, typer.Option(help="Control service.")] = 8510,
) -> None:
    """Run the same changing load twice, on TensorFlow Serving's default configuration and with Regulus steering.

    A model server, the control service and a load generator run on loopback; Ctrl-C ends them all. The load follows
    RRL's step schedule, scaled to what this machine can serve. At the end a table compares both runs.
    """
    from models.zoo import ZOO
    from service.cli.demo.run import DemoOptions

    console = Console()
    if model not in ZOO:
        raise typer.BadParameter(f"{model!r} is not in the zoo; there are {', '.join(ZOO)}", param_hint="--model")
    if report is not None and not report.resolve().parent.is_dir():
        raise typer.BadParameter(f"the folder of {report} does not exist", param_hint="--report")
    options = DemoOptions(
        model=model,
        duration=duration,
        seed=seed,
        ports=Ports(grpc_port, rest_port, agent_port, api_port),
        slo_bound_seconds=None if slo_p99_ms is None else slo_p99_ms / 1000,
        peak_rate=peak_rate,
    )
    try:
        result = asyncio.run(_interruptible(options, console))
    except asyncio.CancelledError:
        console.print("Interrupted; everything that was started has been ended.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (PortTakenError, ChildFailedError) as error:
        typer.echo(f"regulus demo: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    _conclude(result, report, console)


async def _interruptible(options: DemoOptions, console: Console) -> DemoReport:
    """Run until done, or until SIGINT or SIGTERM cancels it and everything has been ended."""
    from rich.live import Live

    from service.cli.demo.run import run_demo
    from service.cli.demo.view import DemoState, line, render

    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        # The first begins the clean-up; more of them must not break it off.
        loop.add_signal_handler(signum, lambda: task and not task.cancelling() and task.cancel())

    def say(text: str) -> None:
        console.print(f"[bold blue]==>[/] {text}", highlight=False)

    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            return await run_demo(options, say, lambda state: live.update(render(state, console.width, console.height)))

    printed: dict[str, float] = {}

    def show(state: DemoState) -> None:
        now = state.seconds[-1]["t"] if state.seconds else 0.0
        if now - printed.get(state.title, -_LINE_EVERY_SECONDS) >= _LINE_EVERY_SECONDS:
            printed[state.title] = now
            sys.stdout.write(line(state) + "\n")
            sys.stdout.flush()

    return await run_demo(options, say, show)


def _conclude(result: DemoReport, report: Path | None, console: Console) -> None:
    console.print(result.table())
    console.print(result.phase_table())
    for name, run in (("default", result.baseline), ("Regulus", result.regulus)):
        for note in run.generator_notes:
            console.print(f"[yellow]Take the {name} run with care:[/] {note}")
    if report is not None:
        scratch = report.with_name(report.name + ".part")
        scratch.write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
        scratch.replace(report)
        console.print(f"Written to {report}")
    if result.baseline.failed:
        console.print(
            f"The default's queue overflowed: {result.baseline.failed} requests failed before Regulus steered."
        )
    if result.regulus.failed:
        console.print(f"[bold red]{result.regulus.failed} requests failed with Regulus; none should.[/]")
        raise typer.Exit(EXIT_FAILED)
