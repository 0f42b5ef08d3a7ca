"""Virtual time jumps to whoever wakes next, and stands still while anybody works."""

from __future__ import annotations

import asyncio
import time

from benchmarks.guarded.clock import VirtualClock


async def test_hours_pass_in_the_order_in_which_sleepers_wake() -> None:
    clock, woken = VirtualClock(2), []

    async def every(seconds: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(seconds)
            woken.append((clock.monotonic(), seconds))

    tasks = asyncio.create_task(every(3600, 3)), asyncio.create_task(every(2400, 1_000_000))
    await tasks[0]
    tasks[1].cancel()
    assert woken == [(2400, 2400), (3600, 3600), (4800, 2400), (7200, 3600), (7200, 2400), (9600, 2400), (10800, 3600)]
    assert clock.time() - clock.monotonic() == VirtualClock(1).time()


async def test_time_stands_still_while_a_thread_works() -> None:
    clock, seen = VirtualClock(2), []

    async def think() -> None:
        await clock.sleep(1)
        before = clock.monotonic()
        await asyncio.to_thread(time.sleep, 0.02)
        seen.append((before, clock.monotonic()))
        await clock.sleep(1000)

    async def tick() -> None:
        for _ in range(20):
            await clock.sleep(0.5)

    thinking = asyncio.create_task(think())
    await tick()
    thinking.cancel()
    assert seen == [(1.0, 1.0)]
