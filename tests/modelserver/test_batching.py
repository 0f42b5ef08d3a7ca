"""The batch scheduler's rules, in virtual time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.serving_config import ServingConfig
from service.modelserver.batching import Batch, BatchLimits, BatchScheduler
from service.modelserver.status import Code, ServingError


def scheduler(
    max_batch_size: int = 4, timeout: float = 0.0, max_enqueued_batches: int = 10, max_execution_batch_size: int = 0
) -> BatchScheduler[str]:
    return BatchScheduler(
        BatchLimits(
            max_batch_size=max_batch_size,
            timeout=timeout,
            max_enqueued_batches=max_enqueued_batches,
            max_execution_batch_size=max_execution_batch_size,
        )
    )


def tasks(batch: Batch[str] | None) -> list[str]:
    assert batch is not None
    return [piece.task for piece in batch.pieces]


def test_limits_take_the_units_of_a_configuration() -> None:
    config = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=2500, max_enqueued_batches=3)
    assert BatchLimits.of(config) == BatchLimits(max_batch_size=8, timeout=0.0025, max_enqueued_batches=3)


def test_without_a_timeout_a_free_thread_takes_what_is_there() -> None:
    queue = scheduler()
    queue.submit("s", "a", 1, 0.0)
    queue.submit("s", "b", 2, 0.0)
    assert tasks(queue.take(0.0)) == ["a", "b"]
    assert queue.take(0.0) is None


def test_a_full_batch_does_not_wait_for_its_timeout() -> None:
    queue = scheduler(max_batch_size=2, timeout=100.0)
    queue.submit("s", "a", 1, 0.0)
    assert queue.take(0.0) is None
    queue.submit("s", "b", 1, 0.0)
    assert tasks(queue.take(0.0)) == ["a", "b"]


def test_the_oldest_task_decides_when_a_batch_is_due() -> None:
    queue = scheduler(timeout=1.0)
    queue.submit("s", "a", 1, 10.0)
    queue.submit("s", "b", 1, 10.9)
    assert queue.next_due() == 11.0
    assert queue.take(10.999) is None
    assert tasks(queue.take(11.0)) == ["a", "b"]
    assert queue.next_due() is None


def test_a_task_that_does_not_fit_closes_the_batch_and_opens_the_next() -> None:
    queue = scheduler(max_batch_size=4, timeout=100.0)
    queue.submit("s", "a", 3, 0.0)
    queue.submit("s", "b", 2, 0.0)
    assert queue.next_due() == -math.inf
    assert tasks(queue.take(0.0)) == ["a"]
    assert queue.take(0.0) is None
    assert queue.next_due() == 100.0


def test_a_full_queue_refuses_in_tensorflows_words_and_goes_on_when_there_is_room() -> None:
    queue = scheduler(max_batch_size=2, max_enqueued_batches=2)
    for task in "abcd":
        queue.submit("s", task, 1, 0.0)
    with pytest.raises(ServingError) as raised:
        queue.submit("s", "e", 1, 0.0)
    assert raised.value.code is Code.UNAVAILABLE
    assert raised.value.message == (
        "The batch scheduling queue to which this task was submitted is full; "
        "currently 2 batches enqueued and max_enqueued_batches is 2"
    )
    assert tasks(queue.take(0.0)) == ["a", "b"]
    queue.submit("s", "f", 1, 0.0)
    assert tasks(queue.take(0.0)) == ["c", "d"]
    assert tasks(queue.take(0.0)) == ["f"]


def test_a_task_larger_than_a_batch_is_refused() -> None:
    with pytest.raises(ServingError, match="Task size 5 is larger than maximum input batch size 4") as raised:
        scheduler(max_batch_size=4).submit("s", "a", 5, 0.0)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_queues_take_turns_and_do_not_mix() -> None:
    queue = scheduler(max_batch_size=1)
    for task in ("a1", "a2", "b1", "b2"):
        queue.submit(task[0], task, 1, 0.0)
    assert [tasks(queue.take(0.0)) for _ in range(4)] == [["a1"], ["b1"], ["a2"], ["b2"]]


def test_one_full_queue_does_not_refuse_tasks_of_another() -> None:
    queue = scheduler(max_batch_size=1, max_enqueued_batches=1)
    queue.submit("a", "a1", 1, 0.0)
    with pytest.raises(ServingError):
        queue.submit("a", "a2", 1, 0.0)
    queue.submit("b", "b1", 1, 0.0)


def test_a_cancelled_task_leaves_and_makes_room() -> None:
    queue = scheduler(max_batch_size=2, max_enqueued_batches=1)
    first = queue.submit("s", "a", 2, 0.0)
    queue.remove(first)
    assert queue.next_due() is None
    queue.submit("s", "b", 2, 0.0)
    assert tasks(queue.take(0.0)) == ["b"]


def test_a_closed_batch_that_lost_all_its_tasks_is_not_executed() -> None:
    queue = scheduler(max_batch_size=2)
    first = queue.submit("s", "a", 2, 0.0)
    queue.submit("s", "b", 2, 0.0)
    queue.remove(first)
    assert tasks(queue.take(0.0)) == ["b"]
    assert queue.take(0.0) is None


def test_after_the_oldest_is_cancelled_the_next_oldest_decides() -> None:
    queue = scheduler(timeout=1.0)
    first = queue.submit("s", "a", 1, 0.0)
    queue.submit("s", "b", 1, 0.5)
    queue.remove(first)
    assert queue.next_due() == 1.5


def test_removing_what_is_in_execution_changes_nothing() -> None:
    queue = scheduler()
    pieces = queue.submit("s", "a", 1, 0.0)
    batch = queue.take(0.0)
    queue.remove(pieces)
    assert tasks(batch) == ["a"]


def test_closing_makes_everything_due() -> None:
    queue = scheduler(timeout=100.0)
    queue.submit("s", "a", 1, 0.0)
    queue.close()
    assert tasks(queue.take(0.0)) == ["a"]


def test_a_large_task_fills_the_open_batch_and_goes_on_in_the_next() -> None:
    queue = scheduler(max_batch_size=10, max_execution_batch_size=4)
    queue.submit("s", "a", 3, 0.0)
    pieces = queue.submit("s", "b", 6, 0.0)
    assert [(piece.start, piece.size) for piece in pieces] == [(0, 1), (1, 4), (5, 1)]
    assert [tasks(queue.take(0.0)) for _ in range(3)] == [["a", "b"], ["b"], ["b"]]


def test_a_large_task_needs_room_for_all_its_parts() -> None:
    queue = scheduler(max_batch_size=10, max_execution_batch_size=4, max_enqueued_batches=2)
    queue.submit("s", "a", 3, 0.0)
    with pytest.raises(ServingError, match="task size is 6 but scheduling capacity is only 5") as raised:
        queue.submit("s", "b", 6, 0.0)
    assert raised.value.code is Code.UNAVAILABLE
    assert len(queue.submit("s", "c", 5, 0.0)) == 2


@given(
    sizes=st.lists(st.integers(0, 6), max_size=40),
    max_batch_size=st.integers(1, 6),
    max_enqueued_batches=st.integers(1, 5),
    cancelled=st.sets(st.integers(0, 39)),
    splitting=st.booleans(),
)
def test_no_task_is_lost_doubled_or_overfilled(
    sizes: list[int], max_batch_size: int, max_enqueued_batches: int, cancelled: set[int], splitting: bool
) -> None:
    queue: BatchScheduler[int] = BatchScheduler(
        BatchLimits(
            max_batch_size=max_batch_size,
            timeout=0.0,
            max_enqueued_batches=max_enqueued_batches,
            max_execution_batch_size=max(1, max_batch_size // 2) if splitting else 0,
        )
    )
    accepted: dict[int, int] = {}
    for task, size in enumerate(sizes):
        try:
            pieces = queue.submit("s", task, size, float(task))
        except ServingError:
            continue
        accepted[task] = size
        if task in cancelled:
            queue.remove(pieces)
            del accepted[task]
    seen: dict[int, int] = {}
    while (batch := queue.take(100.0)) is not None:
        assert batch.pieces
        assert batch.size == sum(piece.size for piece in batch.pieces) <= max_batch_size
        for piece in batch.pieces:
            assert piece.start == seen.get(piece.task, 0)
            seen[piece.task] = piece.start + piece.size
    assert seen == accepted
    assert queue.next_due() is None
    assert queue.enqueued_batches == 0
