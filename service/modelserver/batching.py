"""BatchScheduler: which requests share a batch, and when it closes. Pure: the time is passed in, nothing runs here.

The rules are those of TensorFlow's ``SharedBatchScheduler``
(``tensorflow/core/kernels/batching_util/shared_batch_scheduler.h``), which TensorFlow Serving batches with:

1. Each key (a signature of a model version) has a queue of batches. The last of them is *open*: it takes new tasks.
2. A task that does not fit into the open batch closes it and opens the next, unless ``max_enqueued_batches`` are
   queued already; then it is refused. Batches in execution are not counted, the open one is.
3. Whoever has a free thread takes the oldest closed batch. Where there is none, it takes the open batch if that is
   full or its oldest task has waited ``timeout`` seconds; with a timeout of 0 that means at once.
4. Queues are served round-robin, one batch at a time.

Two things are ours: a cancelled task leaves its batch, and tasks of unequal shape may share a batch (the execution
makes one call a shape, so nobody's request fails for its neighbour's).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.domain.serving_config import ServingConfig
from service.modelserver.status import Code, ServingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How batches may grow and wait.

    Attributes:
        max_batch_size: Largest task, in examples; also the largest batch, unless tasks are split.
        timeout: Seconds that the oldest task of the open batch may wait for company.
        max_enqueued_batches: Batches that may wait in one queue, the open one included.
        max_execution_batch_size: Largest batch; a task that does not fit is split over several. 0 turns splitting off.
    """

    max_batch_size: int
    timeout: float
    max_enqueued_batches: int
    max_execution_batch_size: int = 0

    @classmethod
    def of(cls, config: ServingConfig, max_execution_batch_size: int = 0) -> BatchLimits:
        """The limits that a configuration asks for."""
        return cls(
            max_batch_size=config.max_batch_size,
            timeout=config.batch_timeout_micros / 1e6,
            max_enqueued_batches=config.max_enqueued_batches,
            max_execution_batch_size=min(max_execution_batch_size, config.max_batch_size),
        )


@dataclass(slots=True, eq=False)
class Piece(Generic[T]):
    """A task, or one part of a task that was split.

    Attributes:
        task: What was submitted.
        start: First of its examples.
        size: How many of them.
        since: When it was submitted.
        batch: Where it waits, for :meth:`BatchScheduler.remove`.
    """

    task: T
    start: int
    size: int
    since: float
    batch: Batch[T]


@dataclass(slots=True, eq=False)
class Batch(Generic[T]):
    """Pieces that are executed together.

    Attributes:
        key: The queue it belongs to.
        pieces: In the order of arrival.
        size: Examples in all of them.
    """

    key: str
    pieces: list[Piece[T]] = field(default_factory=list)
    size: int = 0


class BatchScheduler(Generic[T]):
    """Forms batches. Not thread-safe: it belongs to one event loop.

    Args:
        limits: The same for all queues.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._capacity = limits.max_execution_batch_size or limits.max_batch_size
        self._queues: dict[str, deque[Batch[T]]] = {}
        self._order: deque[str] = deque()
        self._closed = False

    def submit(self, key: str, task: T, size: int, now: float) -> list[Piece[T]]:
        """Queue a task.

        Args:
            key: Only tasks of equal key share a batch.
            task: Handed back inside its batch.
            size: Its number of examples, ≥ 0.
            now: Seconds, from a clock that only grows; never before that of an earlier task of the key.

        Returns:
            Its pieces; more than one only where it was split.

        Raises:
            ServingError: INVALID_ARGUMENT: larger than ``max_batch_size``; UNAVAILABLE: the queue is full.
        """
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque([Batch(key)])
            self._order.append(key)
        self._refuse_if_too_much(queue, size)
        pieces = []
        start = 0
        for part in self._parts(size, self._capacity - queue[-1].size):
            if queue[-1].size + part > self._capacity:
                queue.append(Batch(key))
            batch = queue[-1]
            piece = Piece(task, start, part, now, batch)
            batch.pieces.append(piece)
            batch.size += part
            start += part
            pieces.append(piece)
        return pieces

    def take(self, now: float) -> Batch[T] | None:
        """The next batch for a free thread; None when there is none yet."""
        for _ in range(len(self._order)):
            key = self._order[0]
            self._order.rotate(-1)
            queue = self._queues[key]
            if len(queue) == 1 and self._due_at(queue[0]) <= now:
                queue.append(Batch(key))
            if len(queue) > 1:
                return queue.popleft()
        return None

    def next_due(self) -> float | None:
        """When :meth:`take` has something to give, if nothing else is submitted; None when nothing waits."""
        due = math.inf
        for queue in self._queues.values():
            due = min(due, -math.inf if len(queue) > 1 else self._due_at(queue[0]))
        return None if due == math.inf else due

    def remove(self, pieces: Iterable[Piece[T]]) -> None:
        """Take back the pieces of a cancelled task; those whose batch was taken already are left alone."""
        for piece in pieces:
            batch = piece.batch
            queue = self._queues[batch.key]
            if batch not in queue:
                continue
            batch.pieces.remove(piece)
            batch.size -= piece.size
            if not batch.pieces and batch is not queue[-1]:
                queue.remove(batch)

    def waiting(self) -> list[Piece[T]]:
        """Every piece that waits, in the order of submission."""
        pieces = [piece for queue in self._queues.values() for batch in queue for piece in batch.pieces]
        return sorted(pieces, key=lambda piece: piece.since)

    def close(self) -> None:
        """Wait for company no longer: everything queued is due at once."""
        self._closed = True

    @property
    def enqueued_batches(self) -> int:
        """Batches that wait and are not empty."""
        return sum(1 for queue in self._queues.values() for batch in queue if batch.pieces)

    def _due_at(self, open_batch: Batch[T]) -> float:
        if not open_batch.pieces:
            return math.inf
        if self._closed or open_batch.size >= self._capacity:
            return -math.inf
        return open_batch.pieces[0].since + self._limits.timeout

    def _parts(self, size: int, room: int) -> list[int]:
        """Sizes of the pieces of a task, the first filling the open batch."""
        if not self._limits.max_execution_batch_size or size <= room:
            return [size]
        parts = [room] if room else []
        rest = size - room
        parts += [self._capacity] * (rest // self._capacity)
        if rest % self._capacity:
            parts.append(rest % self._capacity)
        return parts

    def _refuse_if_too_much(self, queue: deque[Batch[T]], size: int) -> None:
        limits = self._limits
        if size > limits.max_batch_size:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Task size {size} is larger than maximum input batch size {limits.max_batch_size}",
            )
        room = self._capacity - queue[-1].size
        if limits.max_execution_batch_size:
            capacity = (limits.max_enqueued_batches - len(queue)) * self._capacity + room
            if size > capacity:
                raise ServingError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"task size is {size} but scheduling capacity is only {capacity} "
                    f"(num_enqueued_batches={len(queue)}, max_enqueued_batches={limits.max_enqueued_batches}, "
                    f"open_batch_size={queue[-1].size}, max_execution_batch_size={self._capacity})",
                )
        elif size > room and len(queue) >= limits.max_enqueued_batches:
            raise ServingError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {len(queue)} batches enqueued and max_enqueued_batches is {limits.max_enqueued_batches}",
            )
