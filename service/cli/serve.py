"""``regulus serve``: run the control service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import output
from service.domain.decision import Mode

if TYPE_CHECKING:
    from service.api.settings_sources import Flag

app = typer.Typer(add_completion=False)

_ONE = "One model, without a file"


@app.command(
    epilog="Exit status: 0 ended by a signal; 1 it could not start; 2 the command line is wrong. "
    "Flags win over REGULUS_… variables, those over the file."
)
def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="REGULUS_CONFIG",
            help="Settings file (TOML); left out: ./regulus.toml where there is one.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 8510 by default, 0 takes a free one.", show_default=False)
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="Where the history is kept; sqlite:///regulus.db by default.", show_default=False, metavar="URL"
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="Least severe level logged; info by default.", metavar="debug|info|warning|error"),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="Look of a log line; auto by default.", metavar="auto|console|json")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the only model; takes the place of those in the file.", rich_help_panel=_ONE),
    ] = None,
    agent_url: Annotated[str | None, typer.Option(help="Root of its node's agent API.", rich_help_panel=_ONE)] = None,
    metrics_url: Annotated[
        str | None, typer.Option(help="URL of its server's Prometheus text.", rich_help_panel=_ONE)
    ] = None,
    slo_p99_ms: Annotated[
        float | None, typer.Option("--slo-p99-ms", help="Its bound on p99, milliseconds.", rich_help_panel=_ONE)
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="How much may be done; recommend by default.", show_default=False, rich_help_panel=_ONE),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force, secrets masked, and end.")
    ] = False,
    example_config: Annotated[
        bool, typer.Option("--example-config", help="Print a settings file with everything described, and end.")
    ] = False,
) -> None:
    """Run the control service: watch, learn, and reconfigure model servers while they serve."""
    one_model = {
        "--model": model,
        "--agent-url": agent_url,
        "--metrics-url": metrics_url,
        "--slo-p99-ms": slo_p99_ms,
    }
    if any(value is not None for value in (*one_model.values(), mode)):
        missing = [flag for flag, value in one_model.items() if value is None]
        if missing:
            raise typer.BadParameter(f"a model given by flags also needs {', '.join(missing)}")
    # Imported here so that --help stays fast.
    from service.access import redaction
    from service.api import logs, settings_sources, settings_text
    from service.domain.errors import RegulusError

    if example_config:
        typer.echo(settings_text.example_file(), nl=False)
        return
    flags = _flags(
        {
            "--host": (("server", "host"), host),
            "--port": (("server", "port"), port),
            "--database": (("store", "url"), database),
            "--log-level": (("log", "level"), log_level),
            "--log-format": (("log", "format"), log_format),
            "--model": (("models", 0, "name"), model),
            "--agent-url": (("models", 0, "agent_url"), agent_url),
            "--metrics-url": (("models", 0, "metrics_url"), metrics_url),
            "--slo-p99-ms": (("models", 0, "slo", "bound_seconds"), slo_p99_ms / 1000 if slo_p99_ms else slo_p99_ms),
            "--mode": (("models", 0, "mode"), mode),
        }
    )
    try:
        settings = settings_sources.load(config, flags)
        if print_config:
            typer.echo(settings_text.effective(settings), nl=False)
            return
        logs.configure(settings.log)
        from service.api import server

        server.run(settings, _announce)
    except RegulusError as error:
        for line in redaction.mask_text(str(error)).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(1) from None


def _flags(given: dict[str, tuple[tuple[str | int, ...], Any]]) -> list[Flag]:
    from service.api.settings_sources import Flag

    return [Flag(name, path, value) for name, (path, value) in given.items() if value is not None]


def _announce(url: str) -> None:
    lines = (
        f"Regulus listens on {url}",
        f"  models   {url}/v1/models",
        f"  API      {url}/docs",
        f"  metrics  {url}/metrics",
    )
    output.line("\n".join(lines))
