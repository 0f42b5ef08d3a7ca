"""Engines: batches, instances, cancellation and draining. The session is a stand-in whose calls can be held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.modelserver import engine as engine_module
from service.modelserver.engine import Engine
from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError
from tests.support.engines import FLOAT, OTHER, SIGNATURE, HeldSession, ask, batched, direct, finish
from tests.support.half_plus_two import eventually


async def test_requests_that_arrive_together_share_a_call_and_get_their_own_rows() -> None:
    session = HeldSession()
    engine = batched(session)
    assert await asyncio.gather(ask(engine, 1), ask(engine, 2, 3), ask(engine, 4)) == [[[2]], [[4, 6]], [[8]]]
    assert session.calls == [(4,)]
    await finish(engine)


async def test_requests_of_unequal_shape_share_a_batch_without_spoiling_it() -> None:
    session = HeldSession()
    engine = batched(session)

    async def ask_rows(width: int) -> Any:
        return (await engine.run(SIGNATURE, [np.full((1, width), width, np.float32)], ("y",)))[0].tolist()

    answers = await asyncio.gather(ask_rows(1), ask_rows(2), ask_rows(1))
    assert answers == [[[2]], [[4, 4]], [[2]]]
    assert session.calls == [(2, 1), (1, 2)]
    await finish(engine)


async def test_with_padding_of_inputs_they_share_a_call() -> None:
    session = HeldSession()
    engine = batched(session, pad_inputs=True)
    short, long = np.ones((1, 1), np.float32), np.ones((1, 3), np.float32)
    answers = await asyncio.gather(engine.run(SIGNATURE, [short], ("y",)), engine.run(SIGNATURE, [long], ("y",)))
    assert [answer[0].tolist() for answer in answers] == [[[2, 0, 0]], [[2, 2, 2]]]
    assert session.calls == [(2, 3)]
    await finish(engine)


async def test_a_batch_is_padded_up_to_an_allowed_size_and_the_padding_is_not_answered() -> None:
    session = HeldSession()
    engine = batched(session, allowed_sizes=(1, 4))
    assert await asyncio.gather(ask(engine, 1), ask(engine, 2)) == [[[2]], [[4]]]
    assert session.calls == [(4,)]
    await finish(engine)


async def test_each_request_gets_the_outputs_it_asked_for() -> None:
    session = HeldSession()
    engine = batched(session)
    assert await asyncio.gather(
        ask(engine, 1, outputs=("negative",)), ask(engine, 2, outputs=("y",)), ask(engine, 3, outputs=("negative", "y"))
    ) == [[[-1]], [[4]], [[-3], [6]]]
    await finish(engine)


async def test_signatures_do_not_share_batches() -> None:
    session = HeldSession()
    engine = batched(session)
    await asyncio.gather(ask(engine, 1), ask(engine, 2, signature=OTHER))
    assert session.calls == [(1,), (1,)]
    await finish(engine)


async def test_a_split_request_is_put_together_again() -> None:
    session = HeldSession()
    engine = batched(session, max_batch_size=10, max_execution_batch_size=4)
    assert await asyncio.gather(ask(engine, 1, 2, 3), ask(engine, 4, 5, 6, 7, 8, 9)) == [
        [[2, 4, 6]],
        [[8, 10, 12, 14, 16, 18]],
    ]
    assert session.calls == [(4,), (4,), (1,)]
    await finish(engine)


async def test_a_failing_call_fails_its_requests_and_no_others() -> None:
    session = HeldSession()
    engine = batched(session, max_batch_size=2)
    answers = await asyncio.gather(
        ask(engine, 13), ask(engine, 1), ask(engine, 2), ask(engine, 3), return_exceptions=True
    )
    assert [str(answer) for answer in answers[:2]] == ["13 brings bad luck"] * 2
    assert answers[2:] == [[[4]], [[6]]]
    await finish(engine)


async def test_as_many_batches_run_at_once_as_there_are_threads_spread_over_the_instances() -> None:
    sessions = [HeldSession(open_gate=False), HeldSession(open_gate=False)]
    engine = batched(*sessions, threads=4, max_batch_size=1)
    asked = [asyncio.ensure_future(ask(engine, n)) for n in range(8)]
    await eventually(lambda: sum(session.running for session in sessions) == 4, "calls")
    assert [session.running for session in sessions] == [2, 2]
    for session in sessions:
        session.gate.set()
    assert await asyncio.gather(*asked) == [[[2 * n]] for n in range(8)]
    assert max(session.most for session in sessions) == 2
    await finish(engine)


async def test_while_the_threads_are_busy_requests_gather() -> None:
    session = HeldSession(open_gate=False)
    engine = batched(session)
    first = asyncio.ensure_future(ask(engine, 0))
    await eventually(lambda: session.running, "calls")
    rest = [asyncio.ensure_future(ask(engine, n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    session.gate.set()
    await asyncio.gather(first, *rest)
    assert session.calls == [(1,), (3,)]
    await finish(engine)


async def test_a_batch_nobody_fills_runs_after_its_timeout() -> None:
    session = HeldSession()
    engine = batched(session, timeout=0.01)
    assert await ask(engine, 1) == [[2]]
    assert session.calls == [(1,)]
    await finish(engine)


async def test_a_full_queue_refuses_and_what_it_holds_is_answered() -> None:
    session = HeldSession(open_gate=False)
    engine = batched(session, max_batch_size=1, max_enqueued_batches=2)
    running = asyncio.ensure_future(ask(engine, 0))
    await eventually(lambda: session.running, "calls")
    waiting = [asyncio.ensure_future(ask(engine, n)) for n in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(ServingError, match="is full") as raised:
        await ask(engine, 3)
    assert raised.value.code is Code.UNAVAILABLE
    session.gate.set()
    assert await asyncio.gather(running, *waiting) == [[[0]], [[2]], [[4]]]
    await finish(engine)


async def test_a_cancelled_request_leaves_the_queue_and_is_not_executed() -> None:
    session = HeldSession(open_gate=False)
    engine = batched(session, max_batch_size=1)
    running = asyncio.ensure_future(ask(engine, 0))
    await eventually(lambda: session.running, "calls")
    gone, stays = asyncio.ensure_future(ask(engine, 1)), asyncio.ensure_future(ask(engine, 2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    session.gate.set()
    assert await asyncio.gather(running, stays) == [[[0]], [[4]]]
    assert len(session.calls) == 2
    assert gone.cancelled()
    await finish(engine)


async def test_inputs_that_disagree_about_the_number_of_examples_are_refused() -> None:
    engine = batched(HeldSession())
    two = Signature("two", "", {"a": FLOAT, "b": FLOAT}, {"y": FLOAT})
    with pytest.raises(ServingError, match="equal 0th-dimension size"):
        await engine.run(two, [np.zeros(1, np.float32), np.zeros(2, np.float32)], ("y",))
    with pytest.raises(ServingError, match="at least one dimension"):
        await engine.run(SIGNATURE, [np.float32(1).reshape(())], ("y",))
    await finish(engine)


async def test_an_output_without_rows_cannot_be_batched() -> None:
    class Sum(HeldSession):
        def run(self, signature: Signature, inputs: Any, outputs: tuple[str, ...]) -> tuple[list[Any], float]:
            return [np.sum(inputs[0])], 0.001

    engine = batched(Sum())
    with pytest.raises(ServingError, match="Batched output tensor has 0 dimensions") as raised:
        await ask(engine, 1, 2)
    assert raised.value.code is Code.FAILED_PRECONDITION
    await finish(engine)


async def test_draining_does_not_wait_for_company_and_loses_nothing() -> None:
    session = HeldSession()
    engine = batched(session, timeout=1000.0)
    asked = [asyncio.ensure_future(ask(engine, n)) for n in range(6)]
    await asyncio.sleep(0)
    await engine.drain()
    assert await asyncio.gather(*asked) == [[[2 * n]] for n in range(6)]
    await engine.close()


@pytest.mark.parametrize("make", [batched, direct])
async def test_draining_waits_for_a_call_whose_client_has_gone(make: Callable[[HeldSession], Engine]) -> None:
    session = HeldSession(open_gate=False)
    engine = make(session)
    gone = asyncio.ensure_future(ask(engine, 1))
    await eventually(lambda: session.running, "calls")
    gone.cancel()
    draining = asyncio.ensure_future(engine.drain())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not draining.done()
    session.gate.set()
    await draining
    assert session.running == 0
    await engine.close()


@pytest.mark.parametrize("make", [batched, direct])
async def test_closing_ends_the_threads(make: Callable[[HeldSession], Engine]) -> None:
    before = threading.active_count()
    engine = make(HeldSession())
    await ask(engine, 1)
    assert threading.active_count() > before
    await finish(engine)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


async def test_without_batching_each_request_is_a_call_and_no_more_run_than_allowed() -> None:
    sessions = [HeldSession(open_gate=False), HeldSession(open_gate=False)]
    engine = direct(*sessions, threads=3)
    asked = [asyncio.ensure_future(ask(engine, n)) for n in range(5)]
    await eventually(lambda: sum(session.running for session in sessions) == 3, "calls")
    assert sum(len(session.calls) for session in sessions) == 3
    for session in sessions:
        session.gate.set()
    assert await asyncio.gather(*asked) == [[[2 * n]] for n in range(5)]
    assert sorted(len(session.calls) for session in sessions) == [2, 3]
    await finish(engine)


async def test_without_batching_errors_go_to_the_one_who_caused_them() -> None:
    engine = direct(HeldSession())
    answers = await asyncio.gather(ask(engine, 13), ask(engine, 1), return_exceptions=True)
    assert str(answers[0]) == "13 brings bad luck"
    assert answers[1] == [[2]]
    await finish(engine)


async def test_without_batching_a_request_cancelled_while_it_waits_is_not_executed() -> None:
    session = HeldSession(open_gate=False)
    engine = direct(session, threads=1)
    running = asyncio.ensure_future(ask(engine, 1))
    await eventually(lambda: session.running, "calls")
    gone = asyncio.ensure_future(ask(engine, 2))
    await asyncio.sleep(0)
    gone.cancel()
    session.gate.set()
    assert await running == [[2]]
    await finish(engine)
    assert len(session.calls) == 1


async def test_without_batching_too_many_waiting_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_WAITING_REQUESTS", 2)
    session = HeldSession(open_gate=False)
    engine = direct(session, threads=1)
    asked = [asyncio.ensure_future(ask(engine, n)) for n in range(3)]
    await eventually(lambda: session.running, "calls")
    with pytest.raises(ServingError, match="no more are taken") as raised:
        await ask(engine, 3)
    assert raised.value.code is Code.RESOURCE_EXHAUSTED
    session.gate.set()
    assert await asyncio.gather(*asked) == [[[0]], [[2]], [[4]]]
    await finish(engine)
