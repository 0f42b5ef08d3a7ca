"""Stationarity: whether one stretch of time was of one piece, or the load or the latency changed within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.telemetry.reading import Reading


class Trend(StrEnum):
    """How something moved within a window."""

    STEADY = "steady"
    RISING = "rising"
    FALLING = "falling"


@dataclass(frozen=True, slots=True)
class Stationarity:
    """What moved within a window.

    Attributes:
        rate: The rate of arrivals.
        latency: The latency of requests. RISING under a steady rate is an overload building up: a window that
            violates its objective while it rises may be judged at once. FALLING is a backlog that drains: wait.
    """

    rate: Trend = Trend.STEADY
    latency: Trend = Trend.STEADY

    @property
    def steady(self) -> bool:
        """Whether nothing moved."""
        return self.rate is Trend.STEADY and self.latency is Trend.STEADY


def assess(readings: Sequence[Reading]) -> Stationarity:
    """What moved between the first and the last of consecutive readings of one server process."""
    raise NotImplementedError
