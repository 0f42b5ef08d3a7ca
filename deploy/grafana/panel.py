"""Panel: what every panel of a dashboard has, as data, and the JSON that Grafana reads.

Only what these dashboards use; names are Grafana's own (``@grafana/schema`` 12.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

#: Of Grafana's own palette.
GREEN, YELLOW, RED = "green", "yellow", "red"


class Unit(StrEnum):
    """Grafana's names of units."""

    NONE = "none"
    SECONDS = "s"
    MICROSECONDS = "µs"
    RATIO = "percentunit"
    PER_SECOND = "reqps"
    TIMES_PER_SECOND = "suffix:/s"
    YES_NO = "bool_yes_no"
    UNIX_SECONDS = "dateTimeFromNow"
    MULTIPLE = "suffix:×"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression of a panel.

    Attributes:
        expr: The expression; may use ``$model``, ``$instance``, ``$__rate_interval``.
        legend: Grafana's template of a series' name.
        dashed: Whether it is drawn dashed: a limit rather than a measurement.
    """

    expr: str
    legend: str = ""
    dashed: bool = False


def happened(counter: str, by: str) -> str:
    """PromQL for how often a counter rose in the time of one bar, in whole numbers, by those labels.

    ``increase`` does not see the rise with which a series begins, so a reason's first decision would never show: a
    series that was not there one bar ago and is 1 now has happened once.
    """
    return (
        f"sum by ({by}) (({counter} == 1 unless {counter} offset $__interval) "
        f"or round(increase({counter}[$__interval])))"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has.

    Attributes:
        title: Shown above it.
        queries: What it shows.
        about: What it means and what to look for; the tooltip of its title.
        unit: Of all its values.
        width: Columns of 24.
        height: Rows of about 30 pixels.
        steps: Value from which each colour holds; the first holds from the beginning whatever its value.
        low: Least value of the axis; None for what the data has.
        high: Greatest value of the axis, likewise.
        decimals: Shown; None for Grafana's choice.
        names: Value → text shown for it.
    """

    title: str
    queries: Sequence[Query]
    about: str = ""
    unit: Unit = Unit.NONE
    width: int = 12
    height: int = 8
    steps: Sequence[tuple[float, str]] = ()
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    #: Grafana's name of the visualisation.
    kind = ""
    #: Whether queries ask for the present value only.
    instant = False

    def to_json(self, number: int, x: int, y: int) -> Json:
        """The panel's JSON at that place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [self._target(index, query) for index, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": self._options(),
        }

    def _target(self, index: int, query: Query) -> Json:
        return {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "instant": self.instant,
            "range": not self.instant,
            **self._format(),
        }

    def _format(self) -> Json:
        return {}

    def _defaults(self) -> Json:
        defaults: Json = {"unit": self.unit.value, "custom": self._custom()}
        if self.steps:
            first, *others = self.steps
            steps = [{"color": first[1], "value": None}, *({"color": c, "value": v} for v, c in others)]
            defaults["thresholds"] = {"mode": "absolute", "steps": steps}
            defaults["color"] = {"mode": "thresholds"}
        if self.names:
            shown = {value: {"text": text, "index": i} for i, (value, text) in enumerate(self.names.items())}
            defaults["mappings"] = [{"type": "value", "options": shown}]
        for key, value in (("min", self.low), ("max", self.high), ("decimals", self.decimals)):
            if value is not None:
                defaults[key] = value
        return defaults

    def _custom(self) -> Json:
        return {}

    def _overrides(self) -> list[Json]:
        return []

    def _options(self) -> Json:
        return {}
