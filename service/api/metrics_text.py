"""Regulus's own metrics as text: the tables of docs/metrics.md, made from where the metrics are registered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from service.control.error_budget import ALARMS
from service.domain.clock import SystemClock
from service.domain.decision import Action, Intent, Mode
from service.node.changes import RESTART, VERSION, Changes
from service.node.counters import NodeCounters
from service.node.files import Ledger
from service.node.trial import DIED, EXPIRED, PROMOTED, WITHDRAWN, Trials
from service.telemetry.http_metrics import HttpMetrics
from service.telemetry.own_metrics import CONFIG_KNOBS, KINDS, OUTCOMES, ROLLBACK_REASONS, ControlMetrics

#: Stretches of the error budget, the shortest first.
_STRETCHES = sorted((stretch for alarm in ALARMS for stretch in (alarm.short, alarm.long)), key=lambda one: one[1])


def _codes(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


#: Label → its values, in words or one by one; of the control service, and of the node.
_CONTROL_LABELS: Mapping[str, str | Sequence[str]] = {
    "action": tuple(Action),
    "bound": ("low", "expected", "high"),
    "intent": tuple(Intent),
    "kind": KINDS,
    "knob": CONFIG_KNOBS,
    "method": "the HTTP method, `other` for odd ones",
    "mode": tuple(Mode),
    "model": "the models that the service steers",
    "outcome": OUTCOMES,
    "quantile": ("0.5", "0.99"),
    "reason": f"those of [control.md](control.md#why); of rollbacks {_codes(ROLLBACK_REASONS)}",
    "route": "the path, parameters in braces",
    "status": ("2xx", "3xx", "4xx", "5xx", "none"),
    "version": "Regulus's",
    "window": tuple(name for name, _ in _STRETCHES),
}
_NODE_LABELS: Mapping[str, str | Sequence[str]] = {
    "outcome": f"of changes `ok`, `failed`; of trials {_codes((PROMOTED, WITHDRAWN, DIED, EXPIRED))}",
    "process": ("server", "envoy"),
    "way": f"`{RESTART}` for new processes, `{VERSION}` for a new version of the model in those that run",
}


def reference() -> str:
    """docs/metrics.md's tables: the control service's page, then what a node adds to its own."""
    parts = [
        "## The control service: `GET /metrics`",
        _table(_control()),
        "Values of the labels:",
        _labels(_control(), _CONTROL_LABELS),
        "## The node behind Envoy: on `GET /agent/v1/metrics`",
        _table(_node()),
        "Values of the labels:",
        _labels(_node(), _NODE_LABELS),
    ]
    return "\n\n".join(parts)


def _control() -> list[MetricWrapperBase]:
    registry = CollectorRegistry()
    ControlMetrics(registry, version="0")
    HttpMetrics(registry)
    return _registered(registry)


def _node() -> list[MetricWrapperBase]:
    registry = NodeCounters().registry
    # Only its counter is wanted; nothing of a node is there, and nothing of one is asked for.
    Trials(cast(Changes, None), cast(Ledger, None), asyncio.Lock(), SystemClock(), 0.0, registry)
    return _registered(registry)


def _registered(registry: CollectorRegistry) -> list[MetricWrapperBase]:
    """Its metrics, by name."""
    found = [one for one in registry._collector_to_names if isinstance(one, MetricWrapperBase)]
    return sorted(found, key=_name)


def _name(metric: MetricWrapperBase) -> str:
    """As it is asked for: counters end in ``_total``; of a histogram what its series begin with."""
    (family,) = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else family.name


def _table(metrics: Sequence[MetricWrapperBase]) -> str:
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics:
        (family,) = metric.describe()
        meaning = f"{family.documentation.removesuffix('.')}."
        lines.append(f"| `{_name(metric)}` | {family.type} | {_codes(metric._labelnames)} | {meaning} |")
    return "\n".join(lines)


def _labels(metrics: Sequence[MetricWrapperBase], values: Mapping[str, str | Sequence[str]]) -> str:
    """A row a label.

    Raises:
        KeyError: One is not described.
    """
    lines = ["| label | values |", "|---|---|"]
    for label in sorted({label for metric in metrics for label in metric._labelnames}):
        known = values[label]
        lines.append(f"| `{label}` | {known if isinstance(known, str) else _codes(known)} |")
    return "\n".join(lines)
