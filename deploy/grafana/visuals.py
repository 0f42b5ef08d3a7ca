"""Visuals: the kinds of panels that these dashboards use.

Each adds its options to what every panel has (``@grafana/schema`` 12.1, each visualisation's ``Options`` and
``FieldConfig``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.grafana.panel import RED, Json, Panel, Unit

_COUNTED_BY_SECOND = (Unit.PER_SECOND, Unit.TIMES_PER_SECOND)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeries(Panel):
    """Values over time.

    Attributes:
        stepped: Whether a value holds until the next, as settings do.
        bars: Whether counts are drawn as stacked bars, of a minute each or more; queries use ``$__interval``.
        log: Whether the axis is logarithmic (base 10).
    """

    stepped: bool = False
    bars: bool = False
    log: bool = False

    kind = "timeseries"

    def _format(self) -> Json:
        return {"interval": "1m"} if self.bars else {}

    def _custom(self) -> Json:
        return {
            "drawStyle": "bars" if self.bars else "line",
            "lineInterpolation": "stepAfter" if self.stepped else "linear",
            "lineWidth": 0 if self.bars else 1,
            "fillOpacity": 60 if self.bars else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if self.bars else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if self.log else {"type": "linear"},
            "thresholdsStyle": {"mode": "dashed" if self.steps else "off"},
            # Where nothing happened, Grafana's axis would reach 100.
            **({"axisSoftMax": 1} if self.bars or self.unit in _COUNTED_BY_SECOND else {}),
        }

    def _defaults(self) -> Json:
        # Lines have colours of their own; the steps are drawn as lines. Settings and counts are whole numbers.
        return {
            **({"decimals": 0} if self.stepped or self.bars else {}),
            **({"noValue": "None in this time"} if self.bars else {}),
            **Panel._defaults(self),
            "color": {"mode": "palette-classic"},
        }

    def _overrides(self) -> list[Json]:
        return [
            {
                "matcher": {"id": "byFrameRefID", "options": chr(ord("A") + index)},
                "properties": [
                    {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
                    {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
                ],
            }
            for index, query in enumerate(self.queries)
            if query.dashed
        ]

    def _options(self) -> Json:
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """One number now.

    Attributes:
        by_name: Whether the series' name is shown in place of its value.
    """

    by_name: bool = False

    kind = "stat"
    instant = True

    def _options(self) -> Json:
        return {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "name" if self.by_name else "value",
            "wideLayout": True,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTimeline(Panel):
    """Which states held when: a lane for each series, a bar while it is not 0."""

    kind = "state-timeline"

    def _custom(self) -> Json:
        return {"fillOpacity": 70, "lineWidth": 0}

    def _options(self) -> Json:
        return {
            "alignValue": "left",
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "never",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap(Panel):
    """A histogram over time; its query gives one series a bucket, with ``le``."""

    kind = "heatmap"

    def _format(self) -> Json:
        return {"format": "heatmap"}

    def _custom(self) -> Json:
        return {"scaleDistribution": {"type": "linear"}}

    def _options(self) -> Json:
        return {
            "calculate": False,
            "cellGap": 0,
            "cellValues": {"unit": Unit.PER_SECOND.value},
            "color": {
                "exponent": 0.5,
                "fill": "dark-orange",
                "mode": "scheme",
                "reverse": False,
                "scale": "exponential",
                "scheme": "Oranges",
                "steps": 64,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit.value},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Panel):
    """One row for each set of labels, one column for each query.

    Attributes:
        columns: Heading and unit of each query's column, in the queries' order.
        key: The labels that make a row; others are hidden.
    """

    columns: Sequence[tuple[str, Unit]]
    key: Sequence[str]

    kind = "table"
    instant = True

    def to_json(self, number: int, x: int, y: int) -> Json:
        """As every panel's, with the queries joined into one table."""
        names = {f"Value #{chr(ord('A') + index)}": heading for index, (heading, _) in enumerate(self.columns)}
        order = [*self.key, *names]
        kept = {"names": order}
        return {
            **Panel.to_json(self, number, x, y),
            "transformations": [
                {"id": "merge", "options": {}},
                {"id": "filterFieldsByName", "options": {"include": kept}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {},
                        "indexByName": {name: index for index, name in enumerate(order)},
                        "renameByName": names,
                    },
                },
            ],
        }

    def _format(self) -> Json:
        return {"format": "table"}

    def _custom(self) -> Json:
        return {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}

    def _overrides(self) -> list[Json]:
        return [
            {
                "matcher": {"id": "byName", "options": heading},
                "properties": [{"id": "unit", "value": unit.value}],
            }
            for heading, unit in self.columns
        ]

    def _options(self) -> Json:
        return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": [], "countRows": False}}
