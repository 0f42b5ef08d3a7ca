"""Window: what one stretch of time showed, and whether it may be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.domain.histogram import Histogram, Interval
from service.domain.slo import Slo
from service.domain.workload import Workload


class WindowQuality(StrEnum):
    """Why a window may, or may not, be judged."""

    GOOD = "good"
    TOO_SHORT = "too_short"
    TOO_FEW_REQUESTS = "too_few_requests"
    NOT_STATIONARY = "not_stationary"
    NO_TRAFFIC = "no_traffic"


class SloVerdict(StrEnum):
    """What a window says of an objective, given its uncertainty."""

    MET = "met"
    VIOLATED = "violated"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One stretch of time under one configuration.

    Attributes:
        started_at: Unix time at which it began, seconds.
        duration_seconds: How long it lasted.
        latency: Latencies of successful requests, seconds.
        workload: The load during the window.
        quality: Whether it may be judged, or what is missing.
        succeeded: Requests answered OK.
        rejected: Requests refused because queues were full (UNAVAILABLE, RESOURCE_EXHAUSTED).
        failed: Requests that failed otherwise.
        batch_size: Examples in each executed batch; None where the server does not tell.
        queueing: Seconds requests waited for their batch; None where the server does not tell.
    """

    started_at: float
    duration_seconds: float
    latency: Histogram
    workload: Workload
    quality: WindowQuality = WindowQuality.GOOD
    succeeded: int = 0
    rejected: int = 0
    failed: int = 0
    batch_size: Histogram | None = None
    queueing: Histogram | None = None

    @property
    def usable(self) -> bool:
        """Whether the window may be judged."""
        return self.quality is WindowQuality.GOOD

    @property
    def throughput_per_second(self) -> float:
        """Successful requests a second."""
        return self.succeeded / self.duration_seconds if self.duration_seconds > 0 else 0.0

    @property
    def loss_ratio(self) -> float:
        """Share of requests that were refused or failed."""
        lost = self.rejected + self.failed
        total = self.succeeded + lost
        return lost / total if total else 0.0

    def tail(self, slo: Slo, confidence: float = 0.9) -> Interval:
        """The objective's percentile with its interval, seconds.

        Raises:
            InvalidValueError: The window holds no request.
        """
        return self.latency.quantile_interval(slo.percentile, confidence)

    def violation_ratio(self, slo: Slo) -> float:
        """Share of all requests that broke the bound; refused and failed ones count as broken. 0 when idle."""
        total = self.succeeded + self.rejected + self.failed
        if total == 0:
            return 0.0
        slow = self.latency.count * (1 - self.latency.fraction_within(slo.bound_seconds)) if self.latency.count else 0.0
        return min((slow + self.rejected + self.failed) / total, 1.0)

    def verdict(self, slo: Slo, confidence: float = 0.9) -> SloVerdict:
        """Met or violated only where the interval lies wholly on one side of the bound."""
        if self.loss_ratio > 1 - slo.target_ratio:
            return SloVerdict.VIOLATED
        if self.latency.count == 0:
            return SloVerdict.UNCERTAIN
        tail = self.tail(slo, confidence)
        if tail.high <= slo.bound_seconds:
            return SloVerdict.MET
        if tail.low > slo.bound_seconds:
            return SloVerdict.VIOLATED
        return SloVerdict.UNCERTAIN

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back to an equal value."""
        return {
            "started_at": self.started_at,
            "duration_seconds": self.duration_seconds,
            "latency": self.latency.to_dict(),
            "workload": self.workload.to_dict(),
            "quality": self.quality.value,
            "succeeded": self.succeeded,
            "rejected": self.rejected,
            "failed": self.failed,
            "batch_size": self.batch_size.to_dict() if self.batch_size else None,
            "queueing": self.queueing.to_dict() if self.queueing else None,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Window:
        """Read what :meth:`to_dict` wrote."""
        values = dict(raw)
        values["latency"] = Histogram.from_dict(values["latency"])
        values["workload"] = Workload.from_dict(values["workload"])
        values["quality"] = WindowQuality(values["quality"])
        for name in ("batch_size", "queueing"):
            values[name] = Histogram.from_dict(values[name]) if values[name] else None
        return cls(**values)
