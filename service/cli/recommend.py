"""``regulus recommend``: ask for a configuration, for the present or a supposed load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session

app = typer.Typer(add_completion=False)

_SUPPOSE = "Suppose another load or objective"


@app.command(epilog=EXIT_CODES)
def recommend(
    model: options.Model = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second to suppose.", show_default=False, rich_help_panel=_SUPPOSE),
    ] = None,
    cv: Annotated[
        float | None,
        typer.Option(
            help="Variation of the times between arrivals to suppose; 1 is Poisson, more means bursts.",
            show_default=False,
            rich_help_panel=_SUPPOSE,
        ),
    ] = None,
    examples: Annotated[
        float | None,
        typer.Option(help="Examples a request to suppose.", show_default=False, rich_help_panel=_SUPPOSE),
    ] = None,
    slo_p99_ms: Annotated[
        float | None,
        typer.Option(
            "--slo-p99-ms", help="Bound on p99 to suppose, milliseconds.", show_default=False, rich_help_panel=_SUPPOSE
        ),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Ask what the policy would choose, and why. Changes nothing."""
    load = {"rate_per_second": rate, "cv": cv, "examples_per_request": examples}
    given = {name: value for name, value in load.items() if value is not None}
    with session(url, token_file, timeout) as api:
        path = api.model(model)
        if not given and slo_p99_ms is None:
            answer = api.get(f"{path}/recommendation")
        else:
            body: dict[str, Any] = {"workload": {**_present_load(api.get(path), given), **given}}
            if slo_p99_ms is not None:
                body["slo"] = {"bound_seconds": slo_p99_ms / 1000, "percentile": 0.99}
            answer = api.post(f"{path}/recommendations", body)
    if as_json:
        output.print_json(answer)
    else:
        _show(answer)


def _present_load(status: Mapping[str, Any], given: Mapping[str, float]) -> dict[str, float]:
    """What is not supposed is as it is now.

    Raises:
        typer.BadParameter: No rate is given and there is none now.
    """
    present: dict[str, float] = status["workload"] or {}
    if "rate_per_second" not in present and "rate_per_second" not in given:
        raise typer.BadParameter("there is no load at present; suppose one", param_hint="--rate")
    return present


def _show(answer: Mapping[str, Any]) -> None:
    objective = answer["slo"]
    tail = f"predicted {output.percentile(objective['percentile'])}"
    summary = {
        "choice": f"{output.config(answer['config'])} ({answer['intent']})",
        tail: f"{output.interval(answer['predicted_tail'])}, objective {output.slo(objective)}",
        "confidence": f"{answer['confidence'] * 100:.0f} %",
        "load": output.workload(answer["workload"]),
        "why": answer["explanation"],
    }
    in_force = answer["in_force"] or {}
    rows = [
        (
            name,
            output.knob_value(in_force[name]) if name in in_force else output.DASH,
            output.knob_value(value),
            _range(answer["acceptable"].get(name)),
        )
        for name, value in answer["config"].items()
    ]
    output.show(output.facts(summary), "", output.table(("knob", "in force", "recommended", "about as good"), rows))


def _range(acceptable: Mapping[str, int] | None) -> str:
    if acceptable is None:
        return output.DASH
    low, high = acceptable["low"], acceptable["high"]
    return str(low) if low == high else f"{low} to {high}"
