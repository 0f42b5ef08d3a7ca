"""Noise: how far a window's tail lies from the configuration's own, found from repeats.

Two parts: a window holds a limited number of requests, which the counts themselves tell; and neither the arrivals nor
the machine are the same from one window to the next, which moves many requests together. The second part is what is
left of the spread of repeated tails when the first is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.landscape import Measurement
from service.domain.histogram import Histogram

#: Tails beyond this multiple of the least tail of all are queues that grow: they differ by what the window's length is.
OVERLOAD_FACTOR = 20.0
_DRAWS = 60


def noise_of(repeats: Sequence[Sequence[Measurement]], percentile: float, rng: np.random.Generator) -> dict[str, Any]:
    """The noise of the tail over configurations that were measured several times for equally long.

    Args:
        repeats: For each configuration its windows, at least two.
        percentile: Of the tail.
        rng: Draws resamples.

    Returns:
        ``total_sigma``: standard deviation of the logarithm of one window's tail; ``sampling_sigma``: what the number
        of requests explains of it; ``extra_sigma``: the rest; ``configs``; ``windows``.
    """
    tails = [[m.latency.quantile(percentile) for m in several] for several in repeats]
    least = min(min(row) for row in tails)
    stable = [i for i, row in enumerate(tails) if max(row) < OVERLOAD_FACTOR * least]
    total = [float(np.var(np.log(tails[i]), ddof=1)) for i in stable]
    sampling = [_sampling_variance(m.latency, percentile, rng) for i in stable for m in repeats[i]]
    whole, explained = (float(np.mean(values)) if values else 0.0 for values in (total, sampling))
    return {
        "percentile": percentile,
        "total_sigma": round(whole**0.5, 4),
        "sampling_sigma": round(explained**0.5, 4),
        "extra_sigma": round(max(whole - explained, 0.0) ** 0.5, 4),
        "configs": len(stable),
        "windows": sum(len(repeats[i]) for i in stable),
    }


def _sampling_variance(latency: Histogram, percentile: float, rng: np.random.Generator) -> float:
    counts = np.asarray(latency.counts)
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=_DRAWS)
    logs = [np.log(Histogram(latency.bounds, tuple(row.tolist())).quantile(percentile)) for row in drawn]
    return float(np.var(logs))
