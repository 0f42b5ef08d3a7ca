"""``regulus config``: show or set the configuration in force."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session

app = typer.Typer(add_completion=False)

_SWITCH = {"true": True, "on": True, "false": False, "off": False}


@app.command(epilog=EXIT_CODES)
def config(
    model: options.Model = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KNOB=VALUE",
            help="Give a knob this value and keep the others; may be repeated. Answers once it serves.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Show the configuration in force, or change some of its knobs.

    A configuration set here is refused by no guardrail. In mode auto the policy may move on; see `regulus mode`.
    """
    with session(url, token_file, timeout) as api:
        path = f"{api.model(model)}/config"
        state = api.get(path)
        decision = api.put(path, _assigned(state["config"], assignments)) if assignments else None
    if as_json:
        output.print_json(state if decision is None else decision)
    elif decision is not None:
        output.show(output.outcome(decision))
    else:
        knobs = {name: output.knob_value(value) for name, value in state["config"].items()}
        since = f"generation {state['generation']}, in force since {output.moment(state['in_force_since'])}"
        output.show(since, output.table(("knob", "value"), list(knobs.items())))


def _assigned(present: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The present configuration with some knobs changed.

    Raises:
        typer.BadParameter: An assignment is not KNOB=VALUE, names no knob, or would have no effect.
    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"{assignment!r} is not KNOB=VALUE", param_hint="--set")
        if name not in present:
            near = difflib.get_close_matches(name, present, 1)
            hint = f"did you mean {near[0]}?" if near else f"knobs are {', '.join(present)}"
            raise typer.BadParameter(f"{name!r} is not a knob; {hint}", param_hint="--set")
        given[name] = _value(name, text)
    wanted = {**present, **given}
    ineffective = sorted(output.BATCHING_KNOBS & set(given))
    if ineffective and not wanted["enable_batching"]:
        names = ", ".join(ineffective)
        message = f"{names}: without effect while batching is off; add --set enable_batching=true"
        raise typer.BadParameter(message, param_hint="--set")
    return wanted


def _value(name: str, text: str) -> bool | int | list[int]:
    try:
        if name == "enable_batching":
            return _SWITCH[text.lower()]
        if name == "allowed_batch_sizes":
            return [] if text in ("", "none") else [int(part) for part in text.split(",")]
        return int(text)
    except (KeyError, ValueError):
        kind = {"enable_batching": "true or false", "allowed_batch_sizes": "sizes such as 4,8,16, or none"}
        message = f"{name}: must be {kind.get(name, 'a whole number')}, not {text!r}"
        raise typer.BadParameter(message, param_hint="--set") from None
