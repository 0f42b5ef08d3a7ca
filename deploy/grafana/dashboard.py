"""Dashboard: rows of panels, the choices at the top, the moments that are marked, and where everything goes.

Places on the grid are worked out: panels flow from left to right in 24 columns (``@grafana/schema`` 12.1,
``Dashboard``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.grafana.panel import DATASOURCE, Json, Panel

COLUMNS = 24
SCHEMA_VERSION = 41


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels under it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard, filled with the values of a label.

    Attributes:
        name: Used as ``$name``.
        label: Shown beside it.
        query: Grafana's ``label_values(METRIC, LABEL)``.
        several: Whether several, and all, can be chosen.
    """

    name: str
    label: str
    query: str
    several: bool = False

    def to_json(self) -> Json:
        """The variable's JSON."""
        everything: Json = {"current": {"text": ["All"], "value": ["$__all"]}}
        return {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "datasource": DATASOURCE,
            "query": {"query": self.query, "refId": f"variable-{self.name}"},
            "refresh": 2,
            "sort": 1,
            "regex": "",
            "hide": 0,
            "multi": self.several,
            "includeAll": self.several,
            "options": [],
            **(everything if self.several else {}),
        }


@dataclass(frozen=True, slots=True)
class Annotation:
    """Moments marked in every panel: wherever the expression has a value."""

    name: str
    expr: str
    title: str
    colour: str

    def to_json(self) -> Json:
        """The annotation's JSON."""
        return {
            "name": self.name,
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": self.colour,
            "expr": self.expr,
            "step": "15s",
            "titleFormat": self.title,
            "textFormat": "",
            "tagKeys": "",
            "useValueForTime": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: Stable, because links and bookmarks name it.
        title: Shown in lists.
        about: What question it answers.
        rows: What it shows.
        variables: Choices, besides the data source.
        annotations: Marked moments.
    """

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    annotations: Sequence[Annotation] = ()

    def to_json(self) -> Json:
        """The dashboard's JSON, as Grafana exports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["regulus"],
            "timezone": "browser",
            "schemaVersion": SCHEMA_VERSION,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "weekStart": "",
            "links": [_LINKS],
            "annotations": {"list": [annotation.to_json() for annotation in self.annotations]},
            "templating": {"list": [_DATASOURCE_VARIABLE, *(variable.to_json() for variable in self.variables)]},
            "panels": list(self._laid_out()),
        }

    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for row in self.rows for panel in row.panels]

    def _laid_out(self) -> list[Json]:
        laid: list[Json] = []
        y = 0
        for row in self.rows:
            place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
            laid.append(
                {
                    "id": len(laid) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "gridPos": place,
                    "panels": [],
                }
            )
            y += 1
            x = tallest = 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                laid.append(panel.to_json(len(laid) + 1, x, y))
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest
        return laid


_LINKS: Json = {
    "type": "dashboards",
    "title": "Regulus",
    "tags": ["regulus"],
    "asDropdown": False,
    "icon": "external link",
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
    "tooltip": "",
    "url": "",
}

_DATASOURCE_VARIABLE: Json = {
    "type": "datasource",
    "name": "datasource",
    "label": "Prometheus",
    "query": "prometheus",
    "refresh": 1,
    "regex": "",
    "hide": 0,
    "multi": False,
    "includeAll": False,
    "options": [],
}
