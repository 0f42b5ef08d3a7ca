"""Engine: how the requests of one servable reach its sessions under one configuration; and the one without batching.

An engine is never reconfigured: a new configuration gets a new engine, to which the old one hands over what still
waits, answers what is in execution, and ends. :class:`DirectEngine` gives each request a session call of its own;
:class:`~service.modelserver.batched_engine.BatchedEngine` gathers them.
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
from service.modelserver.batching import BatchScheduler, Piece
from service.modelserver.loaded_model import Session
from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError
from service.modelserver.workers import WorkerPool

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics

Array = np.ndarray[Any, Any]

#: Requests that may wait for a free thread with batching off. TensorFlow Serving refuses as soon as all its gRPC
#: threads are taken; we let short bursts through.
MAX_WAITING_REQUESTS = 4096


@dataclass(slots=True, eq=False)
class Request:
    """A request that waits or is in execution.

    Attributes:
        signature: Of the model.
        inputs: One array for each input.
        outputs: Aliases of the wanted outputs.
        answer: Where its sender waits.
        since: When it arrived.
        scheduler: Where it waits for a batch; None with batching off.
        pieces: What it was split into there.
        rows: Its answer so far, by the start of each piece.
    """

    signature: Signature
    inputs: Sequence[Array]
    outputs: tuple[str, ...]
    answer: asyncio.Future[list[Array]]
    since: float
    scheduler: BatchScheduler[Request] | None = None
    pieces: Sequence[Piece[Request]] = ()
    rows: dict[int, list[Array]] = field(default_factory=dict)

    def withdraw(self) -> None:
        """Nobody waits any longer: leave the batch, if it is not in execution yet."""
        if self.scheduler is not None:
            self.scheduler.remove(self.pieces)


class Engine(ABC):
    """Runs requests on sessions. Belongs to one event loop; does not own the sessions.

    Args:
        sessions: Copies of the model, which share the load.
        threads: Calls in execution at once, over all sessions.
        name: For the names of threads.
        metrics: Told of each call.
        clock: For timeouts and queueing times.
    """

    def __init__(
        self, sessions: Sequence[Session], threads: int, name: str, metrics: ServerMetrics, clock: Clock
    ) -> None:
        self.sessions = tuple(sessions)
        self._busy = [0] * len(self.sessions)
        self._pool = WorkerPool(threads, name)
        self._threads = threads
        self._metrics = metrics
        self._clock = clock
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
        answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        request = Request(signature, inputs, outputs, answer, self._clock.monotonic())
        self._in_flight += 1
        self._idle.clear()
        try:
            self._enqueue(request)
            return await answer
        except asyncio.CancelledError:
            request.withdraw()
            raise
        finally:
            self._in_flight -= 1
            self._set_idle_if_so()

    @abstractmethod
    def hand_over(self, successor: Engine) -> None:
        """Give every request that waits, but is not in execution, to the engine that takes this one's place.

        What waited for a slow configuration is then answered by the new one instead of competing with it. A request
        that the successor would refuse (its queue is full, or its batches are smaller) stays and is answered here.
        """

    async def drain(self) -> None:
        """Wait until everything accepted is answered and every thread is free; nothing more may be submitted."""
        self._hurry()
        await self._idle.wait()

    async def close(self) -> None:
        """End the threads, after :meth:`drain`."""
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)

    @abstractmethod
    def _hurry(self) -> None:
        """Wait for company no longer."""

    @abstractmethod
    def _enqueue(self, request: Request) -> None:
        """Take a request; one that is taken over from another engine arrived in the past.

        Raises:
            ServingError: It is refused.
        """

    def adopt(self, request: Request) -> bool:
        """Take over a request of another engine; False when it would be refused."""
        # Whoever waits for the answer is counted by the other engine, but the work is this one's.
        self._in_flight += 1
        try:
            self._enqueue(request)
        except ServingError:
            self._in_flight -= 1
            return False
        self._idle.clear()
        request.answer.add_done_callback(self._adopted_done)
        return True

    def _adopted_done(self, answer: asyncio.Future[list[Array]]) -> None:
        del answer
        self._in_flight -= 1
        self._set_idle_if_so()

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

    def _enqueue(self, request: Request) -> None:
        if self._in_flight > self._threads + MAX_WAITING_REQUESTS:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._threads} requests are in execution and {MAX_WAITING_REQUESTS} wait; no more are taken",
            )
        request.scheduler = None
        call = _DirectCall(request, self._claim_session(), self.sessions)
        self._pool.submit(call, functools.partial(self._finish, call))

    def _finish(self, call: _DirectCall, result: tuple[list[Array], float] | None, error: BaseException | None) -> None:
        self._release_session(call.index)
        if result is not None:
            self._metrics.graph_run(result[1])
        answer = call.request.answer
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        elif result is not None:
            answer.set_result(result[0])

    def _hurry(self) -> None:
        """Nothing ever waits for company here."""

    def hand_over(self, successor: Engine) -> None:
        """As :meth:`Engine.hand_over`; what the successor refuses is queued again."""
        # Nothing else was submitted; the pool just does not know.
        for call in (call for call in self._pool.take_back() if isinstance(call, _DirectCall)):
            self._release_session(call.index)
            if not call.request.answer.done() and not successor.adopt(call.request):
                self._enqueue(call.request)


@dataclass(frozen=True, slots=True, eq=False)
class _DirectCall:
    """A request on its way to a session; called in a thread."""

    request: Request
    index: int
    sessions: Sequence[Session]

    def __call__(self) -> tuple[list[Array], float] | None:
        request = self.request
        # Whoever asked may have gone while this waited for a thread.
        if request.answer.cancelled():
            return None
        return self.sessions[self.index].run(request.signature, request.inputs, request.outputs)
