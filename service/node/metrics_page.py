"""MetricsPage: one page for the node, in the words of a model server, so that whoever reads one can read the other.

What clients felt comes from Envoy, under the names by which the embedded server tells the same
(``regulus_modelserver_…``, and TensorFlow Serving's ``request_count``); batches come from the servers' own pages,
summed. Times between arrivals are nobody's to tell: readers take the burstiness from counts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.node.envoy_config import Role
from service.node.envoy_stats import Felt

#: Families of the servers' pages that are summed: those that Envoy cannot know. The embedded server's finer ones stay
#: away, or every request would be counted twice.
_SUMMED = (
    ":tensorflow:serving:batching_session:",
    ":tensorflow:serving:request_example_count",
    ":tensorflow:serving:runtime_latency",
    ":tensorflow:serving:model_warmup_latency",
    ":tensorflow:core:graph_run",
)

_LATENCY = "regulus_modelserver_request_latency_seconds"
_REQUESTS = ":tensorflow:serving:request_count"
_TYPE = re.compile(r"# TYPE (\S+) (\S+)\Z")

#: Canonical codes by their number, as gRPC writes them.
_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

#: HTTP code of a client that left.
_LEFT = "0"

#: The codes that TensorFlow Serving's REST answers stand for.
_CODE_OF_HTTP = {
    "200": "OK",
    "400": "INVALID_ARGUMENT",
    "404": "NOT_FOUND",
    "405": "INVALID_ARGUMENT",
    "408": "CANCELLED",
    "409": "ABORTED",
    "413": "INVALID_ARGUMENT",
    "429": "RESOURCE_EXHAUSTED",
    "499": "CANCELLED",
    "501": "UNIMPLEMENTED",
    "503": "UNAVAILABLE",
    "504": "DEADLINE_EXCEEDED",
}


def code_name(entry: str, status: str) -> str:
    """The canonical code of one of Envoy's statuses; see :class:`~service.node.envoy_stats.Felt`."""
    http, _, number = status.partition("_")
    if http == _LEFT:
        return "CANCELLED"
    if entry == "rest":
        return _CODE_OF_HTTP.get(http, "INTERNAL")
    return _CODES[int(number)] if number.isdigit() and int(number) < len(_CODES) else "UNKNOWN"


@dataclass(slots=True)
class ServerTotals:
    """The sums over all server processes there have been, which so never go down. Not thread-safe.

    A process that does not answer counts with what it said last; so does one that has ended.
    """

    _types: dict[str, str] = field(default_factory=dict)
    _ended: dict[str, float] = field(default_factory=dict)
    _running: dict[object, dict[str, float]] = field(default_factory=dict)

    def saw(self, process: object, page: str) -> None:
        """Take what a process's page says now."""
        samples: dict[str, float] = {}
        for line in page.splitlines():
            if line.startswith("#"):
                declared = _TYPE.match(line)
                if declared and declared[1].startswith(_SUMMED):
                    self._types[declared[1]] = declared[2]
            elif line.startswith(_SUMMED):
                name, _, value = line.rpartition(" ")
                try:
                    samples[name] = float(value)
                except ValueError:
                    continue  # half a line says nothing
        self._running[process] = samples

    def gone(self, process: object) -> None:
        """A process has ended."""
        for name, value in self._running.pop(process, {}).items():
            self._ended[name] = self._ended.get(name, 0.0) + value

    def keep_only(self, processes: Iterable[object]) -> None:
        """Every other process has ended."""
        for process in set(self._running) - set(processes):
            self.gone(process)

    def lines(self) -> list[str]:
        """The sums, as lines of a page, families together and buckets in order."""
        sums = dict(self._ended)
        for samples in self._running.values():
            for name, value in samples.items():
                sums[name] = sums.get(name, 0.0) + value
        lines: list[str] = []
        for family, kind in sorted(self._types.items()):
            lines.append(f"# TYPE {family} {kind}")
            parts = {family + part for part in ("", "_bucket", "_sum", "_count")}
            lines += [f"{name} {_number(value)}" for name, value in sums.items() if name.partition("{")[0] in parts]
        return lines


def page(
    model: str, felt: Mapping[tuple[str, Role], Felt], totals: ServerTotals, *, generation: int, front_started_at: float
) -> str:
    """The page.

    Args:
        model: Name that everything is told under.
        felt: From Envoy, by entry point and role; what a canary and its control did is told in series of their own.
        totals: From the servers.
        generation: Number of the configuration in force.
        front_started_at: Unix time of Envoy's start, since when it counts.
    """
    lines = [f"# TYPE {_REQUESTS} counter"]
    for (status, role), count in sorted(_by_code(felt).items()):
        lines.append(f'{_REQUESTS}{{model_name="{_escaped(model)}",status="{status}"{_role_label(role)}}} {count}')
    lines.append(f"# TYPE {_LATENCY} histogram")
    for (entry, role), one in felt.items():
        labels = f'model_name="{_escaped(model)}",api="Predict",entrypoint="{entry.upper()}"{_role_label(role)}'
        edges = [*(f"{edge / 1e6:g}" for edge in one.edges), "+Inf"]
        if not one.cumulative:
            continue
        lines += [
            f'{_LATENCY}_bucket{{{labels},le="{edge}"}} {count}'
            for edge, count in zip(edges, one.cumulative, strict=True)
        ]
        lines.append(f"{_LATENCY}_sum{{{labels}}} {one.sum_micros / 1e6!r}")
        lines.append(f"{_LATENCY}_count{{{labels}}} {one.cumulative[-1]}")
    lines += ["# TYPE regulus_modelserver_generation gauge", f"regulus_modelserver_generation {generation}"]
    lines += ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {front_started_at!r}"]
    return "\n".join([*lines, *totals.lines(), ""])


def _by_code(felt: Mapping[tuple[str, Role], Felt]) -> dict[tuple[str, Role], int]:
    """Requests by canonical code. Who gave up after the objective's bound was not served in time."""
    counts: dict[tuple[str, Role], int] = {}
    for (entry, role), one in felt.items():
        for status, count in one.requests.items():
            code = code_name(entry, status)
            late = min(one.late.get(status, 0), count) if code == "CANCELLED" else 0
            for name, number in ((code, count - late), ("DEADLINE_EXCEEDED", late)):
                if number:
                    counts[name, role] = counts.get((name, role), 0) + number
    return counts


def _role_label(role: Role) -> str:
    return "" if role is Role.NONE else f',role="{role}"'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
