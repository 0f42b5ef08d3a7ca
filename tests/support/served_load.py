"""A simulated server: arrivals go through a first-come queue, and readings show what its metrics page would say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.domain.histogram import Histogram, exponential_bounds
from service.telemetry.reading import Interarrivals, Reading

#: The embedded server's buckets: 100 µs · 1.1^i, up to more than a minute.
FINE_BOUNDS = exponential_bounds(1e-4, 1.1, 141)

Times = NDArray[np.float64]


def poisson_arrivals(rng: np.random.Generator, steps: Sequence[tuple[float, float]]) -> Times:
    """Arrival times of a Poisson process whose rate changes: ``steps`` holds (seconds, rate) one after the other."""
    pieces, begin = [], 0.0
    for seconds, rate in steps:
        pieces.append(begin + np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds))))
        begin += seconds
    return np.concatenate(pieces)


def gamma_arrivals(rng: np.random.Generator, seconds: float, rate: float, cv: float) -> Times:
    """Arrival times of a renewal process with gamma gaps of the given coefficient of variation."""
    shape = 1 / cv**2
    gaps = rng.gamma(shape, 1 / (rate * shape), int(rate * seconds * 1.5) + 100)
    times = np.cumsum(gaps)
    return times[times < seconds]


def queue_departures(arrivals: Times, service: Times, backlog_seconds: float = 0.0) -> Times:
    """When each request leaves a single first-come server that has ``backlog_seconds`` of older work."""
    work = np.cumsum(service)
    return work + np.maximum.accumulate(np.maximum(arrivals, backlog_seconds) - (work - service))


def readings_of(
    arrivals: Times,
    departures: Times,
    *,
    every: float,
    until: float,
    bounds: tuple[float, ...] = FINE_BOUNDS,
    with_interarrivals: bool = True,
    begin: float = 0.0,
) -> list[Reading]:
    """What is read of that server's counters every so many seconds, from ``begin`` to ``until``."""
    order = np.argsort(departures)
    left, latency = departures[order], (departures - arrivals)[order]
    bucket = np.searchsorted(np.asarray(bounds), latency)
    gaps = np.diff(arrivals)
    readings = []
    for moment in np.arange(begin, until + every / 2, every):
        done = int(np.searchsorted(left, moment, side="right"))
        arrived = int(np.searchsorted(arrivals, moment, side="right"))
        seen = gaps[: max(arrived - 1, 0)]
        readings.append(
            Reading(
                monotonic=float(moment),
                time=1_700_000_000.0 + float(moment),
                model="m",
                latency=Histogram(
                    bounds,
                    tuple(int(n) for n in np.bincount(bucket[:done], minlength=len(bounds) + 1)),
                    float(latency[:done].sum()),
                ),
                latency_metric="simulated",
                requests={"OK": done},
                interarrivals=Interarrivals(len(seen), float(seen.sum()), float(np.square(seen).sum()))
                if with_interarrivals
                else None,
            )
        )
    return readings
