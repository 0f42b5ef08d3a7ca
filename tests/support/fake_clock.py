"""FakeClock: time that passes only when a test says so, however many tasks and threads take part."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable

from benchmarks.guarded.clock import EPOCH, VirtualClock

__all__ = ["EPOCH", "FakeClock"]

#: Real seconds after which tasks that do not go to sleep are taken for stuck.
STUCK_SECONDS = 60.0


class FakeClock(VirtualClock):
    """A virtual clock that moves within :meth:`run_for` and :meth:`run_until` alone.

    Args:
        sleepers: How many tasks must sleep before time moves; may change.
    """

    def __init__(self, sleepers: int = 1) -> None:
        super().__init__(sleepers)

    def _asleep(self) -> None:
        """Time waits for the test."""

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
            self._wake_the_next()

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
