"""The live view: what the clients feel, what is in force, and what was decided and why. Pure: state in, picture out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.cli.demo.chart import latency_chart, sparkline
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo

#: Lines that everything but the chart and the decisions takes: frame, numbers, captions, configuration.
_OTHER_LINES = 11
_CHART_LINES = range(5, 13)
#: A decision's explanation takes about so many lines on a terminal of ordinary width.
_LINES_PER_DECISION = 4
_MOST_DECISIONS = 5

_ACTION_STYLES = {"apply": "cyan", "verify": "green", "rollback": "red", "manual": "magenta", "recommend": "blue"}


@dataclass(slots=True)
class DemoState:
    """What the view shows; the demo writes it as things happen.

    Attributes:
        title: What is going on.
        slo: The objective.
        seconds: One entry for each second of the present run, as ``regulus load --stream`` prints them.
        duration: Length of the present run, seconds.
        status: The control service's answer for the model; None before the first.
        decisions: Its newest decisions, newest first.
        baseline: Summary line of the first run, once there is one.
    """

    title: str
    slo: Slo
    duration: float
    seconds: list[Mapping[str, Any]] = field(default_factory=list)
    status: Mapping[str, Any] | None = None
    decisions: Sequence[Mapping[str, Any]] = ()
    baseline: str = ""


def render(state: DemoState, width: int, height: int) -> RenderableType:
    """The whole picture for a terminal of that size; a small one gets a lower chart and fewer decisions."""
    inner = width - 4
    spare = height - _OTHER_LINES
    chart_lines = min(max(spare - 2 * _LINES_PER_DECISION, _CHART_LINES.start), _CHART_LINES.stop)
    shown = min(max((spare - chart_lines) // _LINES_PER_DECISION, 1), _MOST_DECISIONS)
    parts: list[RenderableType] = [_clients(state, inner, chart_lines), _configuration(state)]
    if state.decisions:
        parts.append(_decisions(state.decisions[:shown]))
    if state.baseline:
        parts.append(Text(state.baseline, style="dim"))
    elapsed = state.seconds[-1]["t"] if state.seconds else 0.0
    left = max(state.duration - elapsed, 0.0)
    title = f"[bold]{state.title}[/]  {elapsed:.0f} / {state.duration:.0f} s, {left:.0f} s left"
    return Panel(Group(*parts), title=title, border_style="blue", width=width)


def line(state: DemoState) -> str:
    """The same in one line, for output that is no terminal."""
    if not state.seconds:
        return state.title
    now = state.seconds[-1]
    config = _config_of(state)
    return (
        f"{state.title} {now['t']:.0f}/{state.duration:.0f} s: {now['rate']:.0f}/s p50 {_ms(now['p50'])} "
        f"p99 {_ms(now['p99'])} ({state.slo.describe()}) failed {sum(now['failed'].values())} "
        f"| {config.describe() if config else 'configuration unknown'}"
    )


def _clients(state: DemoState, width: int, chart_lines: int) -> RenderableType:
    rates = [float(second["rate"]) for second in state.seconds]
    tails = [second["p99"] for second in state.seconds]
    numbers = Text()
    if state.seconds:
        now = state.seconds[-1]
        within = now["p99"] is not None and now["p99"] <= state.slo.bound_seconds
        failed = sum(sum(second["failed"].values()) for second in state.seconds)
        numbers.append(f"{now['rate']:5.0f} requests/s   p50 {_ms(now['p50'])}   ")
        numbers.append(f"p99 {_ms(now['p99'])}", style="bold green" if within else "bold red")
        numbers.append(f"   objective {state.slo.bound_seconds * 1000:g} ms   ")
        numbers.append(f"{failed} failed", style="bold red" if failed else "green")
    chart = latency_chart(tails, state.slo.bound_seconds, width=width, height=chart_lines)
    return Group(
        numbers,
        Text("p99 of each second, as clients feel it:", style="dim"),
        chart,
        Text(f"   rate │{sparkline(rates, width - 9)}", style="dim"),
    )


def _config_of(state: DemoState) -> ServingConfig | None:
    raw = state.status.get("config") if state.status else None
    return ServingConfig.from_dict(raw) if raw else None


def _configuration(state: DemoState) -> RenderableType:
    config = _config_of(state)
    text = Text("in force: ", style="dim")
    text.append(config.describe() if config else "not known yet", style="bold")
    if state.status and state.status.get("hold_explanation"):
        text.append(f"\nholding:  {state.status['hold_explanation']}", style="dim")
    return text


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for decision in decisions:
        at = time.strftime("%H:%M:%S", time.localtime(decision["decided_at"]))
        action = Text(decision["action"], style=_ACTION_STYLES.get(decision["action"], ""))
        what = Text(_changes(decision), style="bold")
        what.append((": " if what else "") + decision["explanation"], style="not bold")
        table.add_row(at, action, what)
    return table


def _changes(decision: Mapping[str, Any]) -> str:
    before, after = decision["config_before"], decision["config_after"]
    if not before or not after or before == after:
        return ""
    return ServingConfig.from_dict(after).describe()


def _ms(seconds: float | None) -> str:
    return "    –" if seconds is None else f"{seconds * 1000:.1f} ms"
