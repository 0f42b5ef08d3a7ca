"""Noise: how far a window's tail lies from the configuration's own, found from repeats.

Two parts: a window holds a limited number of requests, which the counts themselves tell; and neither the arrivals nor
the machine are the same from one window to the next, which moves many requests together. The second part, what is left
of the spread of repeated tails when the first is taken off, is what a replay adds. It falls with the length T of a
window as σ² = a² + b² / T: bursts average out, a drift of the machine does not. Windows of two lengths give a and b.
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


def fit_noise(short: Windows, long: Windows, percentile: float, rng: np.random.Generator) -> dict[str, Any]:
    """The noise of the tail's logarithm.

    Args:
        short: Windows of one length; may be empty.
        long: Windows of another, longer one; may be empty.
        percentile: Of the tail.
        rng: Draws resamples.

    Returns:
        ``drift_sigma`` a and ``burst_sigma`` b · s^½ (module's docstring), ``lengths``: for each length its seconds,
        how many configurations, and the standard deviations in all, explained by sampling, and left.
    """
    lengths = [_spread(windows, percentile, rng) for windows in (short, long) if windows]
    a2, b2 = 0.0, 0.0
    if len(lengths) == 2:
        (s, t), (u, v) = ((row["seconds"], row["extra_sigma"] ** 2) for row in lengths)
        b2 = max((t - v) / (1 / s - 1 / u), 0.0)
        a2 = max(v - b2 / u, 0.0)
    elif lengths:
        a2 = lengths[0]["extra_sigma"] ** 2
    return {
        "percentile": percentile,
        "drift_sigma": round(a2**0.5, 4),
        "burst_sigma": round(b2**0.5, 4),
        "lengths": lengths,
    }


def _spread(windows: Windows, percentile: float, rng: np.random.Generator) -> dict[str, Any]:
    tails = [[m.latency.quantile(percentile) for m in several] for several in windows]
    least = min(min(row) for row in tails)
    stable = [i for i, row in enumerate(tails) if max(row) < OVERLOAD_FACTOR * least]
    # Pairs of windows differ by √2 of one window's noise. The middle half tells the standard deviation of most windows;
    # a stall of the machine that hits one of them would tell that of a few.
    differences = np.array([np.diff(np.log(tails[i]))[0] for i in stable])
    quartiles = np.quantile(differences, (0.25, 0.75)) if stable else np.zeros(2)
    whole = float((quartiles[1] - quartiles[0]) / 1.349 / 2**0.5)
    sampling = [_sampling_variance(m.latency, percentile, rng) for i in stable[:60] for m in windows[i][:1]]
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
