"""A small terminal chart of tail latency over time against its bound, and a sparkline. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

_BLOCKS = "▁▂▃▄▅▆▇█"


def latency_chart(values: Sequence[float | None], bound: float, *, width: int, height: int = 9) -> Text:
    """Points over time on a logarithmic axis; the bound is a dashed line.

    Args:
        values: Latency of each second in seconds, oldest first; None where nothing was measured.
        bound: The objective, in seconds.
        width: Columns in all, the axis included; the newest values that fit are drawn, older ones are merged by their
            maximum, so that a spike never vanishes.
        height: Rows.

    Returns:
        ``height`` lines; green points lie within the bound, red ones beyond it.
    """
    axis = 9
    columns = _merge(values, max(width - axis, 1))
    known = [v for v in columns if v is not None and v > 0]
    low = min([bound / 4, *known])
    high = max([bound * 4, *known])
    span = math.log(high / low)

    def row_of(value: float) -> int:
        return round((height - 1) * (1 - math.log(max(value, low) / low) / span))

    bound_row = row_of(bound)
    rows = [row_of(v) if v is not None and v > 0 else None for v in columns]
    text = Text()
    for row in range(height):
        if row == bound_row:
            label = f"{_milliseconds(bound):>7} ┤"
        elif row in (0, height - 1):
            label = f"{_milliseconds(low * math.exp(span * (1 - row / (height - 1)))):>7} ┤"
        else:
            label = " " * 7 + " │"
        text.append(label, style="bold yellow" if row == bound_row else "dim")
        for value, point_row in zip(columns, rows, strict=True):
            if value is not None and point_row == row:
                text.append("●", style="green" if value <= bound else "red")
            elif row == bound_row:
                text.append("╌", style="yellow")
            else:
                text.append(" ")
        text.append("\n" if row < height - 1 else "")
    return text


def sparkline(values: Sequence[float], width: int) -> str:
    """Bars between zero and the largest value, the newest on the right."""
    columns = [v or 0.0 for v in _merge(values, width)]
    top = max(columns, default=0.0)
    if top <= 0:
        return _BLOCKS[0] * len(columns)
    return "".join(_BLOCKS[min(int(v / top * len(_BLOCKS)), len(_BLOCKS) - 1)] for v in columns)


def _merge(values: Sequence[float | None], columns: int) -> list[float | None]:
    """At most ``columns`` values: equal stretches are merged by their maximum."""
    stretch = max(1, math.ceil(len(values) / columns))
    merged: list[float | None] = []
    for start in range(0, len(values), stretch):
        known = [v for v in values[start : start + stretch] if v is not None]
        merged.append(max(known) if known else None)
    return merged


def _milliseconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
