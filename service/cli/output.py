"""Output: how values look to people. Colours on a terminal, plain aligned lines elsewhere; NO_COLOR holds."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.client import clean
from service.domain.serving_config import ServingConfig

#: Wide enough that nothing wraps where no terminal sets the width.
_PLAIN_WIDTH = 10_000

#: Colours of what a judged window says of the objective.
VERDICT_STYLES = {"met": "green", "violated": "bold red", "uncertain": "yellow"}

#: Knobs without effect while batching is off.
BATCHING_KNOBS = frozenset(
    {"max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches", "allowed_batch_sizes"}
)

DASH = "–"


def console() -> Console:
    """Standard output as it is now; made anew each time, so that redirection counts."""
    made = Console(highlight=False, markup=False, emoji=False)
    return made if made.is_terminal else Console(highlight=False, markup=False, emoji=False, width=_PLAIN_WIDTH)


def line(text: str) -> None:
    """One line on standard output, at once: whoever reads it through a pipe may be waiting for it."""
    print(text, flush=True)


def print_json(value: Any, *, one_line: bool = False) -> None:
    """The API's answer, as it came."""
    line(json.dumps(value, indent=None if one_line else 2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """A table; without lines and padding at the right where it is not for a terminal."""
    terminal = console().is_terminal
    made = Table(
        *columns,
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold" if terminal else "",
        show_header=any(columns),
    )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
    return made


def facts(rows: Mapping[str, str | Text]) -> Table:
    """Names and values, one pair a line."""
    return table(("", ""), [(Text(name, style="dim"), value) for name, value in rows.items()])


def show(*parts: RenderableType) -> None:
    """Print; plain text loses the spaces at the end of lines."""
    out = console()
    if out.is_terminal:
        for part in parts:
            out.print(part)
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part)
    line("\n".join(text.rstrip() for text in captured.get().splitlines()))


def milliseconds(seconds: float | None) -> str:
    """``26.4 ms``."""
    if seconds is None:
        return DASH
    value = seconds * 1000
    return f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def interval(raw: Mapping[str, float | None] | None) -> str:
    """``26.4 ms (22.1 ms to 31.2 ms)``."""
    if raw is None:
        return DASH
    low, high = raw["low"], raw["high"]
    if low == high:
        return milliseconds(raw["value"])
    top = milliseconds(high) if high is not None else "unbounded"
    return f"{milliseconds(raw['value'])} ({milliseconds(low)} to {top})"


def percentile(fraction: float) -> str:
    """``p99``."""
    return f"p{fraction * 100:g}"


def slo(raw: Mapping[str, float]) -> str:
    """``p99 ≤ 50 ms``."""
    return f"{percentile(raw['percentile'])} ≤ {raw['bound_seconds'] * 1000:g} ms"


def workload(raw: Mapping[str, float] | None) -> str:
    """``120/s, CV 1, 1 example a request``."""
    if raw is None:
        return "unknown"
    examples = raw["examples_per_request"]
    noun = "example" if examples == 1 else "examples"
    return f"{raw['rate_per_second']:.4g}/s, CV {raw['cv']:.2g}, {examples:.3g} {noun} a request"


def config(raw: Mapping[str, Any] | None) -> str:
    """One short line for a configuration."""
    return ServingConfig.from_dict(raw).describe() if raw is not None else "unknown"


def knob_value(value: Any) -> str:
    """A knob's value as ``regulus config --set`` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(item) for item in value) or "none"
    return str(value)


def changes(raw: Mapping[str, Mapping[str, Any]]) -> str:
    """Only the knobs that changed: ``max_batch_size 8 → 16``; while batching is off its knobs say nothing."""
    batching = raw.get("enable_batching")
    parts = []
    for name, change in raw.items():
        before, after = knob_value(change["before"]), knob_value(change["after"])
        if batching is None or name not in BATCHING_KNOBS:
            parts.append(f"{name} {before} → {after}")
        elif batching["after"]:
            parts.append(f"{name} {after}")
    return ", ".join(parts)


def budget(raw: Mapping[str, Any]) -> str:
    """``91 % left, burns healthy (5m 0, 1h 0.4)``."""
    left = raw["remaining_ratio"]
    rates = ", ".join(f"{name} {rate:.2g}" for name, rate in raw["rates"].items())
    return f"{DASH if left is None else f'{left * 100:.1f} %'} left, burn {raw['burn']} ({rates})"


def moment(unix_seconds: float | None) -> str:
    """Local date and time."""
    if unix_seconds is None:
        return DASH
    return f"{dt.datetime.fromtimestamp(unix_seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def verdict(raw: str | None) -> Text:
    """What the last judged window said, in its colour."""
    return Text(raw or DASH, style=VERDICT_STYLES.get(raw or "", ""))


def outcome(decision: Mapping[str, Any]) -> str:
    """What a command to change something led to."""
    changed = changes(decision["changes"]) or "nothing changed"
    return clean(f"{decision['explanation']}\n{changed}\nin force: {config(decision['config_after'])}")
