"""Shares: how certain it is which share of requests something happened to. Pure."""

from __future__ import annotations

import math

from service.domain.histogram import Interval

#: Standard errors of a share's interval (99 %): asked for twice a second, it would at 90 % blame what is harmless.
#: That the intervals of two tails must not touch is strict enough as it is.
_SIGMAS = 2.58


def share_interval(share: float, requests: int) -> Interval:
    """A share of so many requests, with Wilson's interval; of no request everything is possible."""
    if requests == 0:
        return Interval(0.0, 0.0, 1.0)
    z2 = _SIGMAS**2
    middle = (share + z2 / (2 * requests)) / (1 + z2 / requests)
    half = _SIGMAS / (1 + z2 / requests) * math.sqrt(share * (1 - share) / requests + z2 / (4 * requests * requests))
    return Interval(min(max(middle - half, 0.0), share), share, max(min(middle + half, 1.0), share))
