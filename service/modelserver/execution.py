"""Engines: how the requests of one servable reach its sessions under one configuration.

:class:`BatchedEngine` gathers requests in the event loop and hands each batch to a thread in one step, so that the
price of a session call is paid once a batch; :class:`DirectEngine` gives each request a call of its own. An engine is
never reconfigured: a new configuration gets a new engine, and the old one drains.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from service.domain.clock import Clock
from service.modelserver.batching import Batch, BatchLimits, BatchScheduler
from service.modelserver.joining import (
    examples_in,
    groups_of_equal_shape,
    join,
    pad_to_common_shape,
    padded_size,
    split,
)
from service.modelserver.session import ModelSession
from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError
from service.modelserver.workers import WorkerPool

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics

Array = np.ndarray[Any, Any]

#: Requests that may wait for a free thread with batching off. TensorFlow Serving refuses as soon as all its gRPC
#: threads are taken; we let short bursts through.
MAX_WAITING_REQUESTS = 4096


class Engine(ABC):
    """Runs requests on sessions. Belongs to one event loop; does not own the sessions.

    Args:
        sessions: Copies of the model, which share the load.
        threads: Calls in execution at once, over all sessions.
        name: For the names of threads.
        metrics: Told of each call.
    """

    def __init__(self, sessions: Sequence[ModelSession], threads: int, name: str, metrics: ServerMetrics) -> None:
        self.sessions = tuple(sessions)
        self._busy = [0] * len(self.sessions)
        self._pool = WorkerPool(threads, name)
        self._threads = threads
        self._metrics = metrics
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> list[Array]:
        """Answer one request: one array for each of ``outputs``.

        Args:
            signature: Of the model.
            inputs: One array for each of its inputs, in its order.
            outputs: Aliases of the wanted outputs.

        Raises:
            ServingError: It was refused, or the model failed.
        """
        self._in_flight += 1
        self._idle.clear()
        try:
            return await self._run(signature, inputs, outputs)
        finally:
            self._in_flight -= 1
            self._set_idle_if_so()

    async def drain(self) -> None:
        """Wait until everything accepted is answered and every thread is free; nothing more may be submitted."""
        self._hurry()
        await self._idle.wait()

    async def close(self) -> None:
        """End the threads, after :meth:`drain`."""
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)

    @abstractmethod
    async def _run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> list[Array]: ...

    @abstractmethod
    def _hurry(self) -> None:
        """Wait for company no longer."""

    def _set_idle_if_so(self) -> None:
        # A cancelled request ends before its call does; the sessions must outlive the call.
        if not self._in_flight and not any(self._busy):
            self._idle.set()

    def _claim_session(self) -> int:
        """Index of the session with the fewest calls, one more from now on."""
        index = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[index] += 1
        self._idle.clear()
        return index

    def _release_session(self, index: int) -> None:
        self._busy[index] -= 1
        self._set_idle_if_so()


class DirectEngine(Engine):
    """Batching off: each request is a session call of its own."""

    async def _run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> list[Array]:
        if self._in_flight > self._threads + MAX_WAITING_REQUESTS:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._threads} requests are in execution and {MAX_WAITING_REQUESTS} wait; no more are taken",
            )
        answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        index = self._claim_session()
        session = self.sessions[index]

        def call() -> tuple[list[Array], float] | None:
            # Whoever asked may have gone while this waited for a thread.
            return None if answer.cancelled() else session.run(signature, inputs, outputs)

        def done(result: tuple[list[Array], float] | None, error: BaseException | None) -> None:
            self._release_session(index)
            if result is not None:
                self._metrics.graph_run(result[1])
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            elif result is not None:
                answer.set_result(result[0])

        self._pool.submit(call, done)
        return await answer

    def _hurry(self) -> None:
        """Nothing ever waits for company here."""


@dataclass(slots=True, eq=False)
class _Request:
    """A request that waits or is in execution; ``rows`` gathers its answer, by the start of each piece."""

    signature: Signature
    inputs: Sequence[Array]
    outputs: tuple[str, ...]
    answer: asyncio.Future[list[Array]]
    pieces: int = 1
    rows: dict[int, list[Array]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one piece: its rows, or why there are none."""

    rows: list[Array] | None
    error: ServingError | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    """One session call that a batch took: its size before and after padding, and its seconds."""

    size: int
    processed: int
    seconds: float


class BatchedEngine(Engine):
    """Batching on.

    Args:
        sessions: Copies of the model, which share the load.
        limits: How batches grow and wait.
        threads: Batches in execution at once, over all sessions.
        allowed_sizes: Sizes that a batch is padded up to; empty for no padding.
        pad_inputs: Whether inputs that differ in later axes are padded to a common shape.
        name: For the names of threads.
        metrics: Told of each batch and call.
        clock: For timeouts and queueing times.
    """

    def __init__(
        self,
        sessions: Sequence[ModelSession],
        *,
        limits: BatchLimits,
        threads: int,
        allowed_sizes: Sequence[int],
        pad_inputs: bool,
        name: str,
        metrics: ServerMetrics,
        clock: Clock,
    ) -> None:
        super().__init__(sessions, threads, name, metrics)
        self._scheduler: BatchScheduler[_Request] = BatchScheduler(limits)
        self._allowed = tuple(allowed_sizes)
        self._pad_inputs = pad_inputs
        self._clock = clock
        self._free = threads
        self._dispatching = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    async def _run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> list[Array]:
        size = examples_in(inputs)
        loop = asyncio.get_running_loop()
        request = _Request(signature, inputs, outputs, loop.create_future())
        pieces = self._scheduler.submit(signature.key, request, size, self._clock.monotonic())
        request.pieces = len(pieces)
        # Not at once: requests that arrived together get a chance to share the batch.
        if self._free and not self._dispatching:
            self._dispatching = True
            loop.call_soon(self._dispatch)
        try:
            return await request.answer
        except asyncio.CancelledError:
            self._scheduler.remove(pieces)
            raise

    def _hurry(self) -> None:
        self._scheduler.close()
        self._dispatch()

    def _dispatch(self) -> None:
        """Give batches to free threads; come back when the next one is due."""
        self._dispatching = False
        now = self._clock.monotonic()
        while self._free and (batch := self._scheduler.take(now)) is not None:
            self._start(batch, now)
        if self._free:
            self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        due = self._scheduler.next_due()
        if self._timer is not None:
            if due is not None and due == self._timer_due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            # The loop counts in milliseconds: rounded up, because a timer that comes too early finds nothing to do.
            delay = -(-max(due - now, 0.0) * 1000.0 // 1.0) / 1000.0
            self._timer_due = due
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._dispatch()

    def _start(self, batch: Batch[_Request], now: float) -> None:
        self._free -= 1
        index = self._claim_session()
        waits = [now - piece.since for piece in batch.pieces]
        work = functools.partial(self._execute, self.sessions[index], batch)
        self._pool.submit(work, functools.partial(self._finish, batch, waits, index))

    def _finish(
        self,
        batch: Batch[_Request],
        waits: list[float],
        index: int,
        result: tuple[list[_Outcome], list[_Call]] | None,
        error: BaseException | None,
    ) -> None:
        self._free += 1
        outcomes, calls = result or ([], [])
        for call in calls:
            self._metrics.graph_run(call.seconds)
            self._metrics.batch(waits, call.size, call.processed)
            waits = []
        if error is not None:
            failure = ServingError(Code.INTERNAL, f"The batch could not be executed: {error!r}")
            outcomes = [_Outcome(None, failure)] * len(batch.pieces)
        for piece, outcome in zip(batch.pieces, outcomes, strict=True):
            _answer(piece.task, piece.start, outcome)
        self._release_session(index)
        self._dispatch()

    def _execute(self, session: ModelSession, batch: Batch[_Request]) -> tuple[list[_Outcome], list[_Call]]:
        """Run a batch: one call for each group of pieces of equal shape. In a thread."""
        requests: Sequence[Sequence[Array]] = [_rows_of(piece.task, piece.start, piece.size) for piece in batch.pieces]
        if self._pad_inputs and len(requests) > 1:
            requests = pad_to_common_shape(requests)
        signature = batch.pieces[0].task.signature
        outcomes: list[_Outcome] = [_Outcome(None)] * len(requests)
        calls: list[_Call] = []
        for group in groups_of_equal_shape(requests):
            sizes = [batch.pieces[index].size for index in group]
            size = sum(sizes)
            processed = padded_size(size, self._allowed)
            outputs = _outputs_wanted([batch.pieces[index].task for index in group], signature)
            try:
                joined = join([requests[index] for index in group], processed)
                arrays, seconds = session.run(signature, joined, outputs)
                calls.append(_Call(size, processed, seconds))
                for index, rows in zip(group, split(arrays, sizes, len(joined[0])), strict=True):
                    wanted = batch.pieces[index].task.outputs
                    chosen = rows if wanted == outputs else [rows[outputs.index(alias)] for alias in wanted]
                    outcomes[index] = _Outcome(chosen)
            except ServingError as error:
                for index in group:
                    outcomes[index] = _Outcome(None, error)
        return outcomes, calls


def _rows_of(request: _Request, start: int, size: int) -> Sequence[Array]:
    if request.pieces == 1:
        return request.inputs
    return [array[start : start + size] for array in request.inputs]


def _outputs_wanted(requests: Sequence[_Request], signature: Signature) -> tuple[str, ...]:
    """What one call must fetch: the outputs all ask for, or every output where they differ."""
    first = requests[0].outputs
    return first if all(request.outputs == first for request in requests) else tuple(signature.outputs)


def _answer(request: _Request, start: int, outcome: _Outcome) -> None:
    if request.answer.done():
        return
    if outcome.rows is None:
        # A copy: one exception raised in many tasks would gather all their tracebacks.
        code, message = (outcome.error.code, outcome.error.message) if outcome.error else (Code.INTERNAL, "No answer")
        request.answer.set_exception(ServingError(code, message))
        return
    request.rows[start] = outcome.rows
    if len(request.rows) < request.pieces:
        return
    parts = [request.rows[key] for key in sorted(request.rows)]
    whole = parts[0] if len(parts) == 1 else [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    request.answer.set_result(whole)
