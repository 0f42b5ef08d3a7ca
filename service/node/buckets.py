"""Buckets: the edges of Envoy's latency histogram, fine everywhere and finest round the objective. Pure.

Envoy keeps histograms in bins of two significant digits (circllhist), and counts below an edge exactly only where the
edge is a bin's. So every edge is a number of two significant digits: a quantile read from them is within 10 %, near
the objective within the width of a bin, 1 to 10 %.
"""

from __future__ import annotations

import math

#: Two-digit edges in a decade, no two neighbours more than 10 % apart.
_DECADE = (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26, 28, 30, 33, 36, 39, 42, 46, 50, 55, 60, 66, 72, 79)
_DECADE_END = (86, 93)

#: Least and largest edge, microseconds.
LEAST_MICROS = 100
LARGEST_MICROS = 60_000_000

#: From this share of the objective to this multiple of it every bin is a bucket.
_NEAR = (0.5, 2.0)


def latency_edges_micros(slo_bound_seconds: float | None = None) -> tuple[int, ...]:
    """Upper edges of the buckets, microseconds, ascending.

    Args:
        slo_bound_seconds: The objective's bound; None for no finer part.
    """
    edges = {
        digits * 10**power
        for power in range(1, 7)
        for digits in (*_DECADE, *_DECADE_END)
        if LEAST_MICROS <= digits * 10**power <= LARGEST_MICROS
    }
    if slo_bound_seconds is not None:
        bound = slo_bound_seconds * 1e6
        edges |= {
            edge
            for power in range(1, 7)
            for edge in range(10 * 10**power, 100 * 10**power, 10**power)
            if _NEAR[0] * bound <= edge <= _NEAR[1] * bound and LEAST_MICROS <= edge <= LARGEST_MICROS
        }
    return tuple(sorted(edges))


def on_an_edge(seconds: float) -> bool:
    """Whether a bound has two significant digits, so that the share of requests within it is counted exactly."""
    micros = seconds * 1e6
    if micros <= 0:
        return False
    unit = 10.0 ** (math.floor(math.log10(micros) + 1e-9) - 1)
    return math.isclose(micros / unit, round(micros / unit), rel_tol=1e-9)
