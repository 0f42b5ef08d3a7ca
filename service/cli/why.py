"""``regulus why``: one decision in full, for a person: what was done or not, what was considered, what held it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from service.cli import options, output
from service.cli.client import EXIT_CODES, session
from service.domain.decision import Reason

app = typer.Typer(add_completion=False)

#: Parts of a decision's inputs that are shown in their own way; whatever else there is follows as it is.
_SHOWN = frozenset({"window", "verdict", "tail", "workload", "slo", "error_budget", "gates", "candidates"})


@app.command(epilog=EXIT_CODES)
def why(
    model: options.Model = None,
    decision_id: Annotated[
        int | None,
        typer.Argument(metavar="ID", min=1, help="Which decision; the newest when left out.", show_default=False),
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Tell why something was done, or why nothing is being done now."""
    with session(url, token_file, timeout) as api:
        model, decision_id = api.model_and_decision(model, decision_id)
        path = api.model(model)
        item = api.get(f"{path}/why" if decision_id is None else f"{path}/decisions/{decision_id}")
    if as_json:
        output.print_json(item)
    else:
        output.show(*parts(item))


def parts(item: Mapping[str, Any]) -> list[RenderableType]:
    """A decision as a person reads it, from the most important to the details."""
    shown: list[RenderableType] = [output.facts(_summary(item))]
    if candidates := item["inputs"].get("candidates"):
        shown += ["", _candidates(candidates)]
    if gates := item["inputs"].get("gates"):
        shown += ["", _gates(gates)]
    return shown


def _summary(item: Mapping[str, Any]) -> dict[str, str | Text]:
    inputs, said = item["inputs"], item["recommendation"]
    rows: dict[str, str | Text] = {
        "id": "none: the history says the same already" if item["id"] is None else str(item["id"]),
        "time": output.moment(item["decided_at"]),
        "model": f"{item['model']}, mode {item['mode']}",
        "action": f"{'nothing' if item['action'] == 'hold' else item['action']} ({item['reason']}: "
        f"{Reason(item['reason']).meaning})",
        "why": item["explanation"],
        "before": output.config(item["config_before"]),
        "after": output.config(item["config_after"]),
        "changes": output.changes(item["changes"]) or "none",
    }
    if "window" in inputs:
        rows["measured"] = f"{inputs['window']} ({inputs['verdict']})"
    if "slo" in inputs:
        rows["objective"] = output.slo(inputs["slo"])
    if "workload" in inputs:
        rows["load"] = output.workload(inputs["workload"])
    if "error_budget" in inputs:
        rows["error budget"] = output.budget(inputs["error_budget"])
    if said is not None:
        rows["policy said"] = f"{output.config(said['config'])} ({said['intent']}): {said['explanation']}"
        rows["predicted"] = output.interval(said["predicted_tail"])
    for name, value in inputs.items():
        if name not in _SHOWN:
            rows[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return rows


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = [
        (
            output.config(one["config"]),
            one["intent"],
            output.interval(one["predicted_tail"]),
            one["refused"] or "nothing",
        )
        for one in candidates
    ]
    return output.table(("considered", "intent", "predicted", "what spoke against it"), rows)


def _gates(gates: Mapping[str, str]) -> RenderableType:
    rows = [
        (name.replace("_", " "), Text("open", style="green") if state == "open" else Text(f"closed: {state}"))
        for name, state in gates.items()
    ]
    return output.table(("gate", "state"), rows)
