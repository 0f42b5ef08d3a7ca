"""Tally: what the windows of an hour add up to, so that the error budget knows its whole period. Pure.

A window takes kilobytes and goes after a day or so; an hour's tally takes as much as one window and stays for a year.
It holds histograms and no verdicts, so that it can be held against any objective, also one that is set later.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.domain.window import Window

HOUR_SECONDS = 3600.0

#: What the largest numbers of a row may be.
_MOST = 2**63 - 1

#: Layouts of buckets in one hour whose latencies are kept; a server has one, and another after an update. Latencies in
#: further ones, of a server that lies, count as good.
MAX_LAYOUTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the windows that ended within an hour add up to.

    Attributes:
        hour: Unix time of its beginning, in hours.
        windows: How many there were.
        began_at: When the first of them began, Unix time, seconds.
        ended_at: When the last of them ended, Unix time, seconds.
        requests: All requests.
        lost: Those that were refused or failed.
        latency: Latencies of those that succeeded, seconds; one histogram for each layout of buckets.
    """

    hour: int
    windows: int
    began_at: float
    ended_at: float
    requests: int
    lost: int
    latency: tuple[Histogram, ...]

    @classmethod
    def of(cls, window: Window) -> Tally:
        """One window's."""
        ended_at, lost = window.started_at + window.duration_seconds, window.rejected + window.failed
        return cls(
            hour=hour_of(ended_at),
            windows=1,
            began_at=window.started_at,
            ended_at=ended_at,
            requests=min(int(window.succeeded + lost), _MOST),
            lost=min(int(lost), _MOST),
            latency=(window.latency,) if window.latency.count else (),
        )

    def plus(self, other: Tally) -> Tally:
        """Both together; of the same hour."""
        latency = {histogram.bounds: histogram for histogram in self.latency}
        for histogram in other.latency:
            known = latency.get(histogram.bounds)
            if known is not None:
                latency[histogram.bounds] = known.plus(histogram)
            elif len(latency) < MAX_LAYOUTS:
                latency[histogram.bounds] = histogram
        return Tally(
            hour=self.hour,
            windows=self.windows + other.windows,
            began_at=min(self.began_at, other.began_at),
            ended_at=max(self.ended_at, other.ended_at),
            requests=min(self.requests + other.requests, _MOST),
            lost=min(self.lost + other.lost, _MOST),
            latency=tuple(latency.values()),
        )

    def violation_ratio(self, slo: Slo) -> float:
        """Share of all requests that broke the bound; refused and failed ones count as broken. 0 when idle."""
        if self.requests == 0:
            return 0.0
        slow = sum(part.count * (1 - part.fraction_within(slo.bound_seconds)) for part in self.latency)
        return min((slow + self.lost) / self.requests, 1.0)


def hour_of(unix_seconds: float) -> int:
    """The hour that a moment lies in."""
    return max(min(int(unix_seconds // HOUR_SECONDS), _MOST), -_MOST)
