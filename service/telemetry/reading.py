"""Reading: one look at the ever-growing counters of a server, for one model.

Everything here is cumulative since the server started; only differences between two readings mean something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
        session_inputs: Examples that entered batching sessions, of all models; None where the server does not tell.
        interarrivals: Moments of the times between arrivals; None where the server does not tell.
        generation: Number of the configuration in force; None where the server does not tell.
        process_started_at: Unix time at which the server started, seconds; None where the server does not tell.
        by_role: Where a node has one process try a configuration out: latency and requests of that process and of the
            one beside it, by their roles. They are part of what the reading itself says.
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
    session_inputs: Histogram | None = None
    interarrivals: Interarrivals | None = None
    generation: int | None = None
    process_started_at: float | None = None
    by_role: Mapping[str, Reading] = field(default_factory=dict)

    def nothing(self) -> Reading:
        """What this reading says of a part of the server that has not had a request yet."""
        return Reading(
            monotonic=self.monotonic,
            time=self.time,
            model=self.model,
            generation=self.generation,
            process_started_at=self.process_started_at,
        )

    @property
    def arrivals(self) -> int:
        """Requests so far: as they arrived where the server tells, else as they were answered."""
        return self.interarrivals.count if self.interarrivals else sum(self.requests.values())

    def discontinuity(self, earlier: Reading) -> str | None:
        """Why nothing can be said of the time between ``earlier`` and this reading; None when all is well.

        A counter that went down or vanished means that another process answers now. A new generation means that
        another configuration serves.
        """
        if self.process_started_at != earlier.process_started_at:
            return "the server process was restarted"
        for status, count in earlier.requests.items():
            if self.requests.get(status, 0) < count:
                return f"the server was restarted: its count of {status} requests went down"
        if self.foreign_requests < earlier.foreign_requests:
            return "the server was restarted: its count of requests for other models went down"
        if earlier.interarrivals and (
            self.interarrivals is None or self.interarrivals.count < earlier.interarrivals.count
        ):
            return "the server was restarted: its count of arrivals went down"
        for name in HISTOGRAMS:
            if not _grew(getattr(self, name), getattr(earlier, name)):
                return f"the server was restarted: its {name} histogram went down or changed its buckets"
        if self.generation != earlier.generation:
            return f"the configuration changed from generation {earlier.generation} to {self.generation}"
        return None


#: The fields of a reading that are histograms.
HISTOGRAMS = ("latency", "batch_size", "queueing", "request_examples", "session_inputs")


def _grew(later: Histogram | None, earlier: Histogram | None) -> bool:
    if earlier is None:
        return True
    if later is None or later.bounds != earlier.bounds:
        return False
    return all(a >= b for a, b in zip(later.counts, earlier.counts, strict=True))


def difference(later: Histogram | None, earlier: Histogram | None) -> Histogram | None:
    """What a cumulative histogram gained between two readings of one process; None where the server does not tell.

    A histogram that did not exist yet counts as empty. TensorFlow Serving prints sums with six digits, so after days
    the difference of two sums is noise; it is drawn into what the buckets allow.
    """
    if later is None:
        return None
    gained = later.minus(earlier) if earlier else later
    edges = (0.0, *gained.bounds)
    lowest = sum(count * edge for count, edge in zip(gained.counts, edges, strict=True))
    highest = math.inf
    if gained.counts[-1] == 0:
        highest = sum(count * edge for count, edge in zip(gained.counts, gained.bounds, strict=False))
    return replace(gained, total=min(max(gained.total, lowest), highest))
