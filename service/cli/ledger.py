"""``regulus ledger``: what following the recommendations would have brought, by the policy's own predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, session

app = typer.Typer(add_completion=False)


@app.command(epilog=EXIT_CODES)
def ledger(
    model: options.Model = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many of the newest decisions to look at.")] = 50,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Hold recommendations that were not followed against what was measured without them."""
    with session(url, token_file, timeout) as api:
        answer = api.get(f"{api.model(model)}/ledger", limit=limit)
    if as_json:
        output.print_json(answer)
        return
    if not answer["entries"]:
        output.show("nothing was recommended without being done; mode recommend does that")
        return
    columns = ("id", "time", "recommended change", "predicted", "measured without", "windows", "violated", "gain")
    output.show(output.table(columns, [_row(entry) for entry in answer["entries"]]), "", _sums(answer))


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(entry["decision_id"] or output.DASH),
        output.moment(entry["decided_at"]),
        output.changes(entry["changes"]) or "none",
        output.interval(entry["predicted_tail"]),
        output.milliseconds(entry["measured_tail"]),
        str(entry["windows"]),
        str(entry["violated"]),
        _percent(entry["predicted_gain"]),
    )


def _sums(answer: Mapping[str, Any]) -> str:
    broke = f"{answer['violated']} of {answer['windows']} windows broke {output.slo(answer['slo'])}"
    avoidable = f"{answer['avoidable']} of them while the recommendation was predicted to meet it"
    gain = f"Median predicted gain: {_percent(answer['predicted_gain'])}"
    return f"{broke}; {avoidable}. {gain}. A prediction: nothing was measured under a recommendation."


def _percent(share: float | None) -> str:
    return output.DASH if share is None else f"{share * 100:.0f} %"
