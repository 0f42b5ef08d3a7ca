"""Noise: how far windows of one configuration lie apart, minutes after one another.

A part of it the number of requests in a window explains; the rest is the machine and the arrivals, which move many
requests together. :mod:`benchmarks.record.estimate` takes the rest apart further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.landscape import Measurement
from service.domain.histogram import Histogram

#: Tails beyond this multiple of the least tail of all are queues that grow: they differ by what the window's length is.
OVERLOAD_FACTOR = 10.0
_DRAWS = 40

Windows = Sequence[Sequence[Measurement]]
"""For each configuration its windows of one length, at least two."""


def spread_of(windows: Windows, percentile: float, rng: np.random.Generator) -> dict[str, Any]:
    """The noise of the tail's logarithm.

    Args:
        windows: Of at least one configuration.
        percentile: Of the tail.
        rng: Draws resamples.

    Returns:
        ``seconds``: mean length of the windows; ``configs``: how many were compared; ``total_sigma``: standard
        deviation of one window; ``sampling_sigma``: what the number of requests explains; ``extra_sigma``: the rest.
    """
    tails = [[m.latency.quantile(percentile) for m in several] for several in windows]
    least = min(min(row) for row in tails)
    stable = [i for i, row in enumerate(tails) if max(row) < OVERLOAD_FACTOR * least]
    # Pairs of windows differ by √2 of one window's noise. The middle half tells the standard deviation of most windows;
    # a stall of the machine that hits one of them would tell that of a few.
    differences = np.array([np.diff(np.log(tails[i]))[0] for i in stable])
    quartiles = np.quantile(differences, (0.25, 0.75)) if stable else np.zeros(2)
    whole = float((quartiles[1] - quartiles[0]) / 1.349 / 2**0.5)
    sampling = [_sampling_variance(windows[i][0].latency, percentile, rng) for i in stable[:60]]
    explained = float(np.mean(sampling)) if sampling else 0.0
    return {
        "seconds": round(float(np.mean([m.duration_seconds for several in windows for m in several])), 3),
        "configs": len(stable),
        "total_sigma": round(whole, 4),
        "sampling_sigma": round(explained**0.5, 4),
        "extra_sigma": round(max(whole**2 - explained, 0.0) ** 0.5, 4),
    }


def _sampling_variance(latency: Histogram, percentile: float, rng: np.random.Generator) -> float:
    counts = np.asarray(latency.counts)
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=_DRAWS)
    logs = [np.log(Histogram(latency.bounds, tuple(row.tolist())).quantile(percentile)) for row in drawn]
    return float(np.var(logs))
