"""Spikes: what a switch cost those who were served meanwhile, in seconds. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from service.domain.slo import Slo
from service.telemetry.catalogue import CLIENT_ERROR_STATUSES, OK_STATUS
from service.telemetry.reading import Reading, difference

#: How long readings are kept after a switch began, seconds. What happens later is not the switch's doing; and a reading
#: of a server with fine histograms takes tens of kilobytes.
KEPT_SECONDS = 60.0

#: Standard errors by which a stretch must hold more slow requests than the percentile allows.
SIGMAS = 3.0


class SpikeMeter:
    """Keeps readings from when a switch begins, and counts, once it is judged, the seconds that it spoilt."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._readings: list[Reading] = []

    def add(self, reading: Reading) -> None:
        """Take the next reading."""
        if self._began is None:
            self._readings = [reading]
        elif reading.monotonic - self._began <= KEPT_SECONDS:
            self._readings.append(reading)

    def begin(self, now: float) -> None:
        """A switch is ordered, monotonic seconds; one that was not counted yet is forgotten."""
        self._began = now
        self._readings = self._readings[-1:]

    def finish(self, end: float, slo: Slo, steady_tail: float) -> float | None:
        """Seconds since the switch began in which the tail lay above both the bound and what is usual.

        Between two readings it counts as above when clearly more requests than the percentile allows were slower, or
        were lost. Stretches across a restart of the server, whose counters begin anew, are not counted.

        Args:
            end: When things were steady again: the beginning of the window that is judged, monotonic seconds.
            slo: The objective.
            steady_tail: The worse of the tails before the switch and after it, seconds: what is usual.

        Returns:
            None where no switch has begun since the last call.
        """
        if self._began is None:
            return None
        threshold = max(slo.bound_seconds, steady_tail)
        spoilt = 0.0
        for earlier, later in pairwise(self._readings):
            overlap = min(later.monotonic, end) - max(earlier.monotonic, self._began)
            if overlap > 0 and _joined(earlier, later) and _spoilt(earlier, later, slo, threshold):
                spoilt += overlap
        self._began = None
        self._readings = self._readings[-1:]
        return spoilt


def _joined(earlier: Reading, later: Reading) -> bool:
    """Whether the counters go on; a new generation is just what is looked at."""
    return replace(later, generation=earlier.generation).discontinuity(earlier) is None


def _spoilt(earlier: Reading, later: Reading, slo: Slo, threshold: float) -> bool:
    latency = difference(later.latency, earlier.latency)
    served = latency.count if latency else 0
    lost = _lost(later) - _lost(earlier)
    if served + lost == 0:
        # Nobody was answered: a standstill where somebody asked, else a pause.
        return later.arrivals > earlier.arrivals
    slow = served * (1 - latency.fraction_within(threshold)) if latency and served else 0.0
    allowed = (served + lost) * (1 - slo.percentile)
    return slow + lost > allowed + SIGMAS * math.sqrt(allowed)


def _lost(reading: Reading) -> int:
    answered_well = CLIENT_ERROR_STATUSES | {OK_STATUS}
    return sum(count for status, count in reading.requests.items() if status not in answered_well)
