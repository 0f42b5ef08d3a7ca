from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from service.loadgen.pacer import LoopPacer, Pacer, TimerFdPacer, make_pacer

KINDS: list[Callable[[Callable[[], None]], Pacer]] = [LoopPacer]
if sys.platform == "linux":
    KINDS.append(TimerFdPacer)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_calls_back_once_and_not_before_the_time(kind: Callable[[Callable[[], None]], Pacer]) -> None:
    called: list[float] = []
    event = asyncio.Event()

    def callback() -> None:
        called.append(time.monotonic())
        event.set()

    pacer = kind(callback)
    when = time.monotonic() + 0.05
    pacer.arm(when + 60)
    pacer.arm(when)  # Replaces the call a minute away.
    await asyncio.wait_for(event.wait(), 10)
    # Event loops may wake by their clock's resolution early.
    assert called[0] >= when - 0.002
    event.clear()
    pacer.arm(when)  # In the past: soon.
    await asyncio.wait_for(event.wait(), 10)
    assert len(called) == 2
    pacer.arm(time.monotonic() + 0.02)
    pacer.close()
    pacer.close()
    # By the time a later one has called, the closed one would have.
    event.clear()
    later = kind(callback)
    later.arm(time.monotonic() + 0.03)
    await asyncio.wait_for(event.wait(), 10)
    later.close()
    assert len(called) == 3


async def test_the_finest_pacer_of_the_platform_is_taken() -> None:
    pacer = make_pacer(lambda: None)
    assert isinstance(pacer, KINDS[-1])  # type: ignore[arg-type] # the list holds classes, typed by how they are made
    pacer.close()
