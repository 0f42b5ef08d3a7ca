"""NodeCounters: changes, crashes and returns of a node, for its metrics page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class NodeCounters:
    """What the node counts of itself, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.switches = Counter(
            "regulus_node_switches", "Changes of configuration", ["way", "outcome"], registry=self.registry
        )
        self.switch_seconds = Histogram(
            "regulus_node_switch_seconds",
            "Time from the order to requests being served by it",
            ["way"],
            buckets=(0.5, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89),
            registry=self.registry,
        )
        self.crashes = _Crashes(self.registry)
        self.rollbacks = Counter(
            "regulus_node_rollbacks", "Changes taken back because their servers crashed", registry=self.registry
        )
        self.servers = Gauge("regulus_node_servers", "Server processes that get requests", registry=self.registry)


class _Crashes:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "regulus_node_crashes", "Processes that ended by themselves", ["process"], registry=registry
        )
        for process in ("server", "envoy"):
            self._counter.labels(process=process)

    def inc_for(self, process: str) -> None:
        self._counter.labels(process=process).inc()
