"""``regulus mode``: show or change how much Regulus may do for a model."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session
from service.domain.decision import Mode

app = typer.Typer(add_completion=False)

_MODES = [mode.value for mode in Mode]


@app.command(epilog=EXIT_CODES)
def mode(
    model: options.Model = None,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="off|recommend|auto",
            help="off observes; recommend says what it would do; auto reconfigures the server. Left out: show.",
            show_default=False,
        ),
    ] = None,
    skip_learning: Annotated[
        bool, typer.Option("--skip-learning", help="End the learning period of mode auto now.", show_default=False)
    ] = False,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Show or change how much Regulus may do for a model."""
    if value is None and model in _MODES:
        model, value = None, model
    if value is not None and value not in _MODES:
        raise typer.BadParameter(f"{value!r} is not a mode; modes are {', '.join(_MODES)}")
    with session(url, token_file, timeout) as api:
        root = api.model(model)
        path = f"{root}/mode"
        answer = api.get(path) if value is None else api.put(path, {"mode": value})
        if skip_learning:
            api.post(f"{root}/skip-learning")
    if as_json:
        output.print_json(answer)
    else:
        output.show(str(answer["mode"]))
