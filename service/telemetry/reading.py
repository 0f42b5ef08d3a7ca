"""Reading: one look at the ever-growing counters of a server, for one model.

Everything here is cumulative since the server started; only differences between two readings mean something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.domain.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Interarrivals:
    """Moments of the times between arrivals, cumulative: what a coefficient of variation is computed from.

    Attributes:
        count: Gaps between arrivals so far.
        total: Their sum, seconds.
        total_of_squares: The sum of their squares, seconds².
    """

    count: int
    total: float
    total_of_squares: float

    def minus(self, earlier: Interarrivals) -> Interarrivals:
        """What was added since ``earlier``."""
        return Interarrivals(
            self.count - earlier.count,
            self.total - earlier.total,
            self.total_of_squares - earlier.total_of_squares,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the page of one server said of one model at one moment.

    Attributes:
        monotonic: When it was taken, on the clock that only grows, seconds.
        time: When it was taken, unix time, seconds.
        model: The model it speaks of.
        latency: Latencies of successful requests, seconds; None while the server has served none.
        latency_metric: The metric ``latency`` came from, which says how fine its buckets are; None with it.
        requests: Requests by the name of their status (``OK``, ``UNAVAILABLE``, …).
        foreign_requests: Requests for other models of the same server; while they grow, the metrics that carry no
            model label cannot be attributed.
        batch_size: Executed batches by their size, padding included; None where the server does not tell.
        queueing: Seconds that requests waited for their batch; None where the server does not tell.
        request_examples: Requests by the examples they carried; None where the server does not tell.
        interarrivals: Moments of the times between arrivals; None where the server does not tell.
        generation: Number of the configuration in force; None where the server does not tell.
        process_started_at: Unix time at which the server started, seconds; None where the server does not tell.
    """

    monotonic: float
    time: float
    model: str
    latency: Histogram | None = None
    latency_metric: str | None = None
    requests: Mapping[str, int] = field(default_factory=dict)
    foreign_requests: int = 0
    batch_size: Histogram | None = None
    queueing: Histogram | None = None
    request_examples: Histogram | None = None
    interarrivals: Interarrivals | None = None
    generation: int | None = None
    process_started_at: float | None = None
