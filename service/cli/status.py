"""``regulus status``: models, objectives, configurations, the latest decisions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from service.cli import options, output
from service.cli.client import EXIT_CODES, Client, clean, session

app = typer.Typer(add_completion=False)


@app.command(epilog=EXIT_CODES)
def status(
    model: options.Model = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until interrupted.", show_default=False)] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Time between two looks of --watch, seconds.")] = 1.0,
    as_json: options.Json = False,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Show all models one a line, or everything about one."""
    with session(url, token_file, timeout) as api:
        if not watch:
            _show(_read(api, model), as_json)
            return
        try:
            _watch(api, model, interval, as_json)
        except KeyboardInterrupt:
            return


def _read(api: Client, model: str | None) -> Any:
    """One model's status, or with no name all of them."""
    return api.get(api.model(model)) if model is not None else api.get("/v1/models")


def _watch(api: Client, model: str | None, interval: float, as_json: bool) -> None:
    if as_json:
        while True:
            output.print_json(_read(api, model), one_line=True)
            time.sleep(interval)
    console = output.console()
    if not console.is_terminal:
        while True:
            output.show(_view(_read(api, model)), "")
            time.sleep(interval)
    with Live(_view(_read(api, model)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(_view(_read(api, model)), refresh=True)


def _show(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    else:
        output.show(_view(answer))


def _view(answer: Mapping[str, Any]) -> RenderableType:
    models: Sequence[Mapping[str, Any]] | None = answer.get("models")
    if models is None:
        return _detail(answer)
    if len(models) == 1:
        return _detail(models[0])
    return _overview(models)


def _overview(models: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = []
    for model in models:
        window = model["window"] or model["judged"]
        rows.append(
            (
                model["name"],
                model["mode"],
                output.slo(model["slo"]),
                output.milliseconds(window["tail"]["value"] if window and window["tail"] else None),
                output.verdict(model["verdict"]),
                f"{model['workload']['rate_per_second']:.4g}/s" if model["workload"] else output.DASH,
                output.config(model["config"]),
                model["problem"] or model["hold_explanation"] or _decided(model["last_decision"]),
            )
        )
    return output.table(("model", "mode", "objective", "now", "verdict", "rate", "in force", "doing"), rows)


def _detail(model: Mapping[str, Any]) -> RenderableType:
    name = output.percentile(model["slo"]["percentile"])
    window = model["window"]
    judged = model["judged"]
    reading = model["metrics_age_seconds"]
    spent, allowed = model["spike_seconds"], model["spike_seconds_allowed"]
    rows: dict[str, str | Text] = {
        "model": f"{model['name']} ({model['server_kind']} {model['server_version']})",
        "mode": model["mode"],
        "objective": output.slo(model["slo"]),
        "verdict": output.verdict(model["verdict"]),
        f"{name} judged": output.interval(judged["tail"] if judged else None),
        f"{name} now": output.interval(window["tail"] if window else None),
        "load": output.workload(model["workload"]),
        "in force": f"{output.config(model['config'])}{', on probation' if model['verifying'] else ''}",
        "since": f"{output.moment(model['in_force_since'])}, generation {_or_dash(model['generation'])}",
        "last known good": output.config(model["last_known_good"]),
        "doing": _doing(model),
        "last decision": _decided(model["last_decision"]),
        "learnt from": f"{model['observations']} windows; {model['switches_left']} switches left this hour",
        "error budget": output.budget(model["error_budget"]),
        "switches cost": f"{spent:.1f} of {allowed:g} s of high latency this hour",
        "agent": "answers" if model["agent_reachable"] else Text("does not answer", style="red"),
        "metrics": f"{reading:.1f} s old" if reading is not None else "never read",
    }
    rows |= _restraints(model)
    if model["problem"] is not None:
        rows["problem"] = Text(clean(model["problem"]), style="red")
    return Group(output.facts(rows))


def _restraints(model: Mapping[str, Any]) -> dict[str, str | Text]:
    """What keeps hands off beyond the mode; nothing where nothing does."""
    rows: dict[str, str | Text] = {}
    if model["kill_switch"]:
        rows["kill switch"] = Text("on: nothing is done automatically", style="bold red")
    if model["maintenance"] is not None:
        rows["maintenance"] = f"{model['maintenance']} (UTC) is open"
    if model["learning"] is not None:
        rows["learning"] = f"{model['learning']}; `regulus mode --skip-learning` ends it"
    if model["frozen_seconds"] > 0:
        rows["frozen"] = f"nothing unknown is tried for {model['frozen_seconds']:.0f} s"
    if model["quarantine"]:
        rows["quarantine"] = "; ".join(
            f"{output.config(held['config'])} until {output.moment(held['until'])}" for held in model["quarantine"]
        )
    return rows


def _doing(model: Mapping[str, Any]) -> str:
    if model["hold_reason"] is None:
        return "acting on the last decision"
    return f"nothing ({model['hold_reason']}): {model['hold_explanation']}"


def _decided(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return "none yet"
    what = output.changes(decision["changes"])
    return f"{decision['action']} ({decision['reason']}){': ' + what if what else ''}"


def _or_dash(value: Any) -> str:
    return output.DASH if value is None else str(value)
