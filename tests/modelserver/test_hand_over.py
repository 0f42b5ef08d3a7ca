"""Handing over: what waits for one engine is answered by the next, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.modelserver.engine import Engine
from tests.support.engines import HeldSession, ask, batched, direct, finish
from tests.support.half_plus_two import eventually


@pytest.mark.parametrize("new", [batched, direct])
@pytest.mark.parametrize("old", [batched, direct])
async def test_what_waits_is_handed_over_to_the_engine_that_comes_next(
    old: Callable[..., Engine], new: Callable[..., Engine]
) -> None:
    slow, fast = HeldSession(open_gate=False), HeldSession()
    one = old(slow, threads=1, max_batch_size=1) if old is batched else old(slow, threads=1)
    other = new(fast)
    running = asyncio.ensure_future(ask(one, 0))
    await eventually(lambda: slow.running, "calls")
    waiting = [asyncio.ensure_future(ask(one, n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)

    one.hand_over(other)
    assert await asyncio.gather(*waiting) == [[[2 * n]] for n in (1, 2, 3)]
    assert not running.done()
    slow.gate.set()
    assert await running == [[0]]
    assert len(slow.calls) == 1
    await asyncio.gather(finish(one), finish(other))


@pytest.mark.parametrize("old", [batched, direct])
async def test_what_the_next_engine_would_refuse_stays_and_is_answered(old: Callable[..., Engine]) -> None:
    slow, small = HeldSession(open_gate=False), HeldSession()
    one = old(slow, threads=1)
    other = batched(small, max_batch_size=2)
    running = asyncio.ensure_future(ask(one, 0))
    await eventually(lambda: slow.running, "calls")
    fits, too_large = asyncio.ensure_future(ask(one, 1)), asyncio.ensure_future(ask(one, 1, 2, 3))
    await asyncio.sleep(0)

    one.hand_over(other)
    assert await fits == [[2]]
    slow.gate.set()
    assert await asyncio.gather(running, too_large) == [[[0]], [[2, 4, 6]]]
    await asyncio.gather(finish(one), finish(other))


@pytest.mark.parametrize("new", [batched, direct])
async def test_the_next_engine_is_not_drained_before_it_has_answered_what_it_took_over(
    new: Callable[..., Engine],
) -> None:
    slow, held = HeldSession(open_gate=False), HeldSession(open_gate=False)
    one, other = direct(slow, threads=1), new(held)
    running = asyncio.ensure_future(ask(one, 0))
    await eventually(lambda: slow.running, "calls")
    waiting = asyncio.ensure_future(ask(one, 1))
    await asyncio.sleep(0)
    one.hand_over(other)

    draining = asyncio.ensure_future(other.drain())
    await eventually(lambda: held.running, "calls")
    assert not draining.done()
    held.gate.set()
    slow.gate.set()
    assert await asyncio.gather(running, waiting) == [[[0]], [[2]]]
    await draining
    await other.close()
    await finish(one)


async def test_a_request_cancelled_after_it_was_handed_over_is_not_executed() -> None:
    slow, held = HeldSession(open_gate=False), HeldSession(open_gate=False)
    one, other = direct(slow, threads=1), batched(held, max_batch_size=1)
    first = [asyncio.ensure_future(ask(engine, 0)) for engine in (one, other)]
    await eventually(lambda: slow.running and held.running, "calls")
    waiting = asyncio.ensure_future(ask(one, 1))
    await asyncio.sleep(0)
    one.hand_over(other)
    waiting.cancel()
    await asyncio.sleep(0)

    slow.gate.set()
    held.gate.set()
    await asyncio.gather(*first)
    await asyncio.gather(finish(one), finish(other))
    assert waiting.cancelled()
    assert len(held.calls) == 1
