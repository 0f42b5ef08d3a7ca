"""The metrics page: families of metrics as Prometheus text, written as ``util/prometheus_exporter.cc`` writes it.

One ``# TYPE`` line a family and no ``# HELP``; in names every character outside ``[A-Za-z0-9_]`` becomes ``:``, in
label names ``_``; edges with six significant digits. One difference: sums and counts are written with all their
digits, where TensorFlow Serving rounds sums to six and so makes rates of large sums useless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from service.modelserver.metric_families import Distributions, Family, Labels, Scalars

#: The page's path when monitoring_config_file names none (``PrometheusExporter::kPrometheusPath``).
DEFAULT_PATH = "/monitoring/prometheus/metrics"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")


def render_page(families: Iterable[Family]) -> str:
    """The text of the page, families by name and label sets by value, as TensorFlow Serving orders them."""
    lines: list[str] = []
    for family in sorted(families, key=lambda family: family.name):
        if isinstance(family, Scalars):
            _render_scalars(family, lines)
        else:
            _render_distributions(family, lines)
    lines.append("")
    return "\n".join(lines)


def metric_name(name: str) -> str:
    """``/tensorflow/serving/x`` as the page writes it: ``:tensorflow:serving:x``."""
    return _NOT_IN_NAMES.sub(":", name)


def _label_pairs(names: Labels, values: Labels) -> str:
    pairs = zip(names, values, strict=True)
    return ",".join(f'{_NOT_IN_NAMES.sub("_", name)}="{_escape(value)}"' for name, value in pairs)


def _escape(value: str) -> str:
    """Backslash, quote and (what TensorFlow Serving forgets) line feed."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _render_scalars(family: Scalars, lines: list[str]) -> None:
    name = metric_name(family.name)
    lines.append(f"# TYPE {name} {family.kind}")
    lines += [
        f"{name}{{{_label_pairs(family.labels, key)}}} {_number(value)}" for key, value in sorted(family.values.items())
    ]


def _render_distributions(family: Distributions, lines: list[str]) -> None:
    name = metric_name(family.name)
    edges = [f"{bound:g}" for bound in family.bounds] + ["+Inf"]
    lines.append(f"# TYPE {name} histogram")
    for key, cell in sorted(family.cells.items()):
        labels = _label_pairs(family.labels, key)
        before = f"{name}_bucket{{{labels}{',' if labels else ''}le="
        below = 0
        for edge, count in zip(edges, cell.counts, strict=True):
            below += count
            lines.append(f'{before}"{edge}"}} {below}')
        lines.append(f"{name}_sum{{{labels}}} {_number(cell.total)}")
        lines.append(f"{name}_count{{{labels}}} {below}")
