"""FakeClock: time that passes only when a test says so, however many tasks and threads take part."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable

#: Real seconds after which tasks that do not go to sleep are taken for stuck.
STUCK_SECONDS = 60.0

#: When tests begin: an ordinary day, Unix time.
EPOCH = 1_700_000_000.0


class FakeClock:
    """Implements ``service.domain.clock.Clock``.

    Time stands still while anything works. It moves to the next moment at which somebody wants to wake only once
    ``sleepers`` tasks sleep on it; so worker threads may take as long as they like and a run can be repeated exactly.

    Args:
        sleepers: How many tasks must sleep before time moves.
    """

    def __init__(self, sleepers: int = 1) -> None:
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
        """Wait until the test has let that much time pass."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._waiting, (self._now + max(seconds, 0.0), self._order, future))
        await future

    async def run_for(self, seconds: float) -> None:
        """Let time pass; returns when everybody sleeps again."""
        await self.run_until(lambda: False, within=seconds, or_fail=False)

    async def run_until(self, condition: Callable[[], bool], within: float, *, or_fail: bool = True) -> None:
        """Let time pass until ``condition`` holds.

        Raises:
            AssertionError: It did not hold within ``within`` seconds of this clock.
        """
        end = self._now + within
        while True:
            await self._settle()
            if condition():
                return
            if not self._waiting or self._waiting[0][0] > end:
                self._now = end
                assert not or_fail, f"the condition did not come true within {within} s"
                return
            wake_at, _, future = heapq.heappop(self._waiting)
            self._now = max(self._now, wake_at)
            if not future.done():
                future.set_result(None)

    async def _settle(self) -> None:
        deadline = time.monotonic() + STUCK_SECONDS
        idle = 0
        while idle < 3:
            # Threads hand their results back through the event loop, which a pause of no length would starve.
            await asyncio.sleep(0 if idle else 0.0002)
            self._waiting = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)
            idle = idle + 1 if len(self._waiting) >= self.sleepers else 0
            assert time.monotonic() < deadline, f"only {len(self._waiting)} of {self.sleepers} tasks went to sleep"
