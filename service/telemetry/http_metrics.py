"""HttpMetrics: requests to our own API, for Prometheus.

Labels are bounded: routes with their parameters in braces, methods that HTTP defines, classes of status.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.telemetry.own_metrics import PREFIX

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: Most answers come from memory; thinking takes seconds, putting a configuration in force up to minutes.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class HttpMetrics:
    """Counts and times requests in a registry that the caller owns and renders. Thread-safe.

    Args:
        registry: Where they are registered; one HttpMetrics a registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            PREFIX + "http_requests",
            "Requests to the API that were answered, or broken off (status none).",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            PREFIX + "http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            registry=registry,
            buckets=_BUCKETS,
        )

    def answered(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """A request has ended.

        Args:
            method: HTTP method.
            route: Path with parameters in braces; one of few values.
            status: Of the answer; None when there was none.
            seconds: How long it took.
        """
        kind = f"{status // 100}xx" if status is not None else "none"
        self._requests.labels(method if method in _METHODS else "other", route, kind).inc()
        self._seconds.labels(route).observe(seconds)
