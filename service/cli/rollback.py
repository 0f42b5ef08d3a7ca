"""``regulus rollback``: return to the last known good configuration."""

from __future__ import annotations

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session

app = typer.Typer(add_completion=False)


@app.command(epilog=EXIT_CODES)
def rollback(
    model: options.Model = None,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Return a model to the newest configuration that met its objective, and wait until it serves."""
    with session(url, token_file, timeout) as api:
        decision = api.post(f"{api.model(model)}/rollback")
    if as_json:
        output.print_json(decision)
    else:
        output.show(output.outcome(decision))
