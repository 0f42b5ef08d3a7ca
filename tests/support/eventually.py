"""Waiting for something that other tasks of the same event loop bring about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], timeout: float = 60.0, what: str = "condition") -> T:
    """Call ``look`` until it gives something true, and return that; AssertionError with ``what`` when it never does."""
    deadline = time.monotonic() + timeout
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s; last seen: {found!r}")
        await asyncio.sleep(0.02)
