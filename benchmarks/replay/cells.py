"""Cells: numbers as the tables show them."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks.statistics import Estimate


def windows(estimate: Estimate, horizon: int) -> str:
    """Windows with their interval; ``> horizon`` where a run ended before."""
    return _with_interval(estimate, lambda value: _windows(value, horizon))


def counted(estimate: Estimate, horizon: int) -> str:
    """The same as a phrase: ``3 [2, 4] windows``."""
    return f"{windows(estimate, horizon)} window{'' if estimate.value == 1 else 's'}"


def number(estimate: Estimate) -> str:
    """A number with its interval, three significant digits."""
    return _with_interval(estimate, significant)


def percent(estimate: Estimate) -> str:
    """A share with its interval, in percent."""
    return _with_interval(Estimate(*(100 * v for v in (estimate.value, estimate.low, estimate.high))), significant)


def times(estimate: Estimate, *, at_least: bool = False) -> str:
    """A factor with its interval; ``≥`` where runs were cut off, so that the factor is a lower bound."""
    return ("≥ " if at_least else "") + _with_interval(estimate, significant) + " ×"


def significant(value: float) -> str:
    """Three significant digits without an exponent, no more than two behind the point."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def _windows(value: float, horizon: int) -> str:
    if math.isnan(value):
        return "–"
    return f"> {horizon}" if math.isinf(value) else f"{value:g}"


def _with_interval(estimate: Estimate, text: Callable[[float], str]) -> str:
    if math.isnan(estimate.low):
        return text(estimate.value)
    return f"{text(estimate.value)} [{text(estimate.low)}, {text(estimate.high)}]"
