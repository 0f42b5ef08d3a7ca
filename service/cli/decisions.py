"""``regulus decisions``: what was decided, and why; also why nothing was done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, Client, clean, session
from service.cli.why import parts
from service.domain.decision import Action

app = typer.Typer(add_completion=False)

#: Time between two questions of --follow, seconds.
FOLLOW_INTERVAL_SECONDS = 1.0

_ACTING = [action.value for action in Action if action is not Action.HOLD]


@app.command(epilog=EXIT_CODES)
def decisions(
    model: options.Model = None,
    decision_id: Annotated[
        int | None,
        typer.Argument(metavar="ID", min=1, help="Show this one with all that went into it.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many of the newest.")] = 20,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those to do nothing, with their reasons.", show_default=False)
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until interrupted.", show_default=False)
    ] = False,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """List what was decided for a model, and why, newest first; with --follow newest last."""
    with session(url, token_file, timeout) as api:
        model, decision_id = api.model_and_decision(model, decision_id)
        path = f"{api.model(model)}/decisions"
        actions = None if everything else _ACTING
        if decision_id is not None:
            item = api.get(f"{path}/{decision_id}")
            if as_json:
                output.print_json(item)
            else:
                output.show(*parts(item))
        elif follow:
            _follow(api, path, limit, actions, as_json)
        else:
            page = api.get(path, limit=limit, action=actions)
            if as_json:
                output.print_json(page)
            else:
                _show_many(page["items"])


def _follow(api: Client, path: str, limit: int, actions: Sequence[str] | None, as_json: bool) -> None:
    """Print the newest, then each new one; ends with the keyboard."""
    newest = 0
    try:
        while True:
            items: list[dict[str, Any]] = []
            before = None
            # The first round shows the newest ``limit``; later ones go back to what was shown last.
            while True:
                page = api.get(path, limit=limit, action=actions, before=before)
                items += [item for item in page["items"] if item["id"] > newest]
                before = page["next"]
                if before is None or before <= newest or newest == 0:
                    break
            for item in reversed(items):
                if as_json:
                    output.print_json(item, one_line=True)
                else:
                    output.show(_entry(item))
            newest = max([newest, *(item["id"] for item in items)])
            time.sleep(FOLLOW_INTERVAL_SECONDS)
    except KeyboardInterrupt:
        return


def _entry(item: Mapping[str, Any]) -> str:
    """One decision: some short lines on a terminal, one long line elsewhere."""
    head = f"{item['id']}  {output.moment(item['decided_at'])}  {item['action']} ({item['reason']})"
    parts = [head, output.changes(item["changes"]), item["explanation"]]
    separator = "\n    " if output.console().is_terminal else "  "
    return clean(separator.join(part for part in parts if part))


def _show_many(items: Sequence[Mapping[str, Any]]) -> None:
    if not items:
        output.show("nothing was done yet; --all also shows why not")
    for item in items:
        output.show(_entry(item))
