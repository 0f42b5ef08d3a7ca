"""Rate limiter: a token bucket a key, in bounded memory.

A bucket holds up to ``burst`` requests and gains ``per_second`` of them a second; a request takes one, and is refused
where there is none.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from service.domain.clock import Clock

#: Keys that are remembered. Whoever has more addresses than that finds full buckets, and is met by other limits.
MAX_KEYS = 4096


class RateLimiter:
    """Counts requests by key. The key that was silent longest is forgotten first.

    Args:
        per_second: How fast a bucket fills, requests per second; > 0.
        burst: How much it holds, requests; ≥ 1.
        clock: Time.
        max_keys: Keys that are remembered.
    """

    def __init__(self, per_second: float, burst: float, clock: Clock, max_keys: int = MAX_KEYS) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._max_keys = max_keys
        #: Key → (what its bucket held, when that was).
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one request from a key's bucket; 0 when there was one, else the seconds until there is."""
        now = self._clock.monotonic()
        held, at = self._buckets.get(key, (self._burst, now))
        held = min(self._burst, held + (now - at) * self._per_second)
        admitted = held >= 1
        self._buckets[key] = (held - 1 if admitted else held, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return 0.0 if admitted else (1 - held) / self._per_second

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._buckets)


def of_failures(clock: Clock) -> RateLimiter:
    """For wrong tokens, by address: 30 at once and one a second are answered as such, more only wait.

    Right ones are never asked for: whoever sends wrong ones from a shared address must not lock others out.
    """
    return RateLimiter(1.0, 30, clock)


def retry_after(seconds: float) -> str:
    """The header ``Retry-After`` for a wait: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))
