"""Options that the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.client import DEFAULT_URL

_PANEL = "Where to ask"

Model = Annotated[
    str | None, typer.Argument(help="Name of the model; may be left out when there is only one.", show_default=False)
]
Url = Annotated[
    str, typer.Option("--url", envvar="REGULUS_URL", help="Root of the control service's API.", rich_help_panel=_PANEL)
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="REGULUS_TOKEN_FILE",
        help="File that holds the service's bearer token; REGULUS_TOKEN may hold the token itself.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=0.1, help="Longest wait for an answer, seconds.", rich_help_panel=_PANEL),
]
Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")]

URL = DEFAULT_URL
#: Thinking takes seconds, and putting a configuration in force as long as loading and warming the model takes.
TIMEOUT_SECONDS = 120.0
