"""VirtualClock: time that jumps to the next moment at which somebody wants to wake; ten minutes take seconds."""

from __future__ import annotations

import asyncio
import heapq

#: When a run begins, Unix time: any day will do, as long as it is the same.
EPOCH = 1_700_000_000.0


class VirtualClock:
    """Implements :class:`service.domain.clock.Clock`. Belongs to one event loop.

    Time stands still while anything works, in a thread or here, and moves when all tasks that share the clock sleep.
    They wake one at a time and in the order in which they asked for the same moment, so a run is the same every time.

    Args:
        sleepers: How many tasks share the clock.
    """

    def __init__(self, sleepers: int) -> None:
        self.sleepers = sleepers
        self._now = 0.0
        self._order = 0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    def time(self) -> float:
        """Unix time, seconds."""
        return EPOCH + self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until all others have done what they do until then."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._waiting, (self._now + max(seconds, 0.0), self._order, future))
        self._asleep()
        await future

    def _asleep(self) -> None:
        """One more sleeps."""
        if len(self._waiting) >= self.sleepers:
            self._wake_the_next()

    def _wake_the_next(self) -> None:
        at, _, future = heapq.heappop(self._waiting)
        self._now = max(self._now, at)
        if not future.done():
            future.set_result(None)
