"""``regulus kill-switch``: stop every automatic action for all models at once, or allow them again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session

app = typer.Typer(add_completion=False)


class Position(StrEnum):
    """Where the switch is to be."""

    ON = "on"
    OFF = "off"


@app.command(epilog=EXIT_CODES)
def kill_switch(
    position: Annotated[
        Position | None,
        typer.Argument(help="on: nothing is done automatically, for any model. Left out: show.", show_default=False),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Show or turn the kill switch. It outlives a restart; what you command yourself is still done."""
    with session(url, token_file, timeout) as api:
        path = "/v1/kill-switch"
        answer = api.get(path) if position is None else api.put(path, {"on": position is Position.ON})
    if as_json:
        output.print_json(answer)
    else:
        output.show("on: nothing is done automatically, for any model" if answer["on"] else "off")
