"""Interruptible: a program that is told to end, by Ctrl-C or SIGTERM, ends what it started first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run_interruptible(work: Coroutine[None, None, T]) -> T:
    """Run a coroutine to its end.

    Raises:
        asyncio.CancelledError: SIGINT or SIGTERM came; the coroutine was cancelled and has cleaned up.
    """

    async def guarded() -> T:
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            # The first begins the clean-up; more of them must not break it off.
            asyncio.get_running_loop().add_signal_handler(
                number, lambda: task and not task.cancelling() and task.cancel()
            )
        return await work

    return uvloop.run(guarded())
