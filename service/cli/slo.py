"""``regulus slo``: show or change a model's objective."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session

app = typer.Typer(add_completion=False)


@app.command(epilog=EXIT_CODES)
def slo(
    model: options.Model = None,
    p99_ms: Annotated[
        float | None,
        typer.Option("--p99-ms", help="Set p99 to at most this, milliseconds.", show_default=False),
    ] = None,
    bound_ms: Annotated[
        float | None,
        typer.Option("--bound-ms", help="Set the latency not to be exceeded, milliseconds.", show_default=False),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option("--percentile", help="Set the percentile held against it; a fraction.", show_default=False),
    ] = None,
    target_ratio: Annotated[
        float | None,
        typer.Option(
            "--target-ratio", help="Set the share of requests to stay within it; a fraction.", show_default=False
        ),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Show a model's objective, or change what is given and keep the rest."""
    if p99_ms is not None and (bound_ms is not None or percentile is not None):
        raise typer.BadParameter("--p99-ms stands for --bound-ms and --percentile; give one or the other")
    if p99_ms is not None:
        bound_ms, percentile = p99_ms, 0.99
    wanted = {
        "bound_seconds": bound_ms / 1000 if bound_ms is not None else None,
        "percentile": percentile,
        "target_ratio": target_ratio,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    with session(url, token_file, timeout) as api:
        path = f"{api.model(model)}/slo"
        answer = api.get(path)
        if given:
            answer = api.put(path, {**answer, **given})
    if as_json:
        output.print_json(answer)
    else:
        output.show(f"{output.slo(answer)}, by {answer['target_ratio'] * 100:g} % of requests")
