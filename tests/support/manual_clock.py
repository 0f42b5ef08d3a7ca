"""A clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio

START = 1_700_000_000.0


class ManualClock:
    """Both of its times begin where the test says and move only by :meth:`advance` and :meth:`sleep`."""

    def __init__(self, monotonic: float = 0.0) -> None:
        self._monotonic = monotonic

    def time(self) -> float:
        return START + self._monotonic

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self._monotonic += seconds
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
