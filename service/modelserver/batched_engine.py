"""BatchedEngine: requests are gathered in the event loop, and each batch goes to a thread in one step.

So the price of a session call, and of crossing from the event loop to a thread and back, is paid once a batch.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from service.domain.clock import Clock
from service.modelserver.batching import Batch, BatchLimits, BatchScheduler
from service.modelserver.engine import Engine, Request
from service.modelserver.joining import (
    examples_in,
    groups_of_equal_shape,
    join,
    pad_to_common_shape,
    padded_size,
    split,
)
from service.modelserver.loaded_model import Session
from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics

Array = np.ndarray[Any, Any]


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
        sessions: Sequence[Session],
        *,
        limits: BatchLimits,
        threads: int,
        allowed_sizes: Sequence[int],
        pad_inputs: bool,
        name: str,
        metrics: ServerMetrics,
        clock: Clock,
    ) -> None:
        super().__init__(sessions, threads, name, metrics, clock)
        self._scheduler: BatchScheduler[Request] = BatchScheduler(limits)
        self._allowed = tuple(allowed_sizes)
        self._pad_inputs = pad_inputs
        self._free = threads
        self._dispatching = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def _enqueue(self, request: Request) -> None:
        size = examples_in(request.inputs)
        request.pieces = self._scheduler.submit(request.signature.key, request, size, request.since)
        request.scheduler = self._scheduler
        # Not at once: requests that arrived together get a chance to share the batch.
        if self._free and not self._dispatching:
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def hand_over(self, successor: Engine) -> None:
        """As :meth:`Engine.hand_over`; a request of which a part may be in execution stays."""
        for piece in self._scheduler.waiting():
            request = piece.task
            whole = len(request.pieces) == 1
            if whole and not request.answer.done() and successor.adopt(request):
                self._scheduler.remove([piece])

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

    def _start(self, batch: Batch[Request], now: float) -> None:
        self._free -= 1
        index = self._claim_session()
        waits = [now - piece.since for piece in batch.pieces]
        work = functools.partial(self._execute, self.sessions[index], batch)
        self._pool.submit(work, functools.partial(self._finish, batch, waits, index))

    def _finish(
        self,
        batch: Batch[Request],
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

    def _execute(self, session: Session, batch: Batch[Request]) -> tuple[list[_Outcome], list[_Call]]:
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


def _rows_of(request: Request, start: int, size: int) -> Sequence[Array]:
    if len(request.pieces) == 1:
        return request.inputs
    return [array[start : start + size] for array in request.inputs]


def _outputs_wanted(requests: Sequence[Request], signature: Signature) -> tuple[str, ...]:
    """What one call must fetch: the outputs all ask for, or every output where they differ."""
    first = requests[0].outputs
    return first if all(request.outputs == first for request in requests) else tuple(signature.outputs)


def _answer(request: Request, start: int, outcome: _Outcome) -> None:
    if request.answer.done():
        return
    if outcome.rows is None:
        # A copy: one exception raised in many tasks would gather all their tracebacks.
        code, message = (outcome.error.code, outcome.error.message) if outcome.error else (Code.INTERNAL, "No answer")
        request.answer.set_exception(ServingError(code, message))
        return
    request.rows[start] = outcome.rows
    if len(request.rows) < len(request.pieces):
        return
    parts = [request.rows[key] for key in sorted(request.rows)]
    whole = parts[0] if len(parts) == 1 else [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    request.answer.set_result(whole)
