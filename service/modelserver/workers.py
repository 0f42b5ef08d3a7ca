"""WorkerPool: threads that run blocking calls for an event loop.

Cheaper on the hot path than an executor: no future or lock for each call, threads start only as they are needed, and
results that finish close together wake the loop once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], object], Callable[[Any, BaseException | None], None]]

_log = logging.getLogger(__name__)


class WorkerPool:
    """At most ``threads`` calls at once; further ones wait in the order of submission.

    Belongs to the event loop that makes the first :meth:`submit`; all methods but :meth:`join` are called there.

    Args:
        threads: Most threads.
        name: Prefix of their names.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._limit = threads
        self._name = name
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._finished: deque[Callable[[], None]] = deque()
        self._outstanding = 0
        self._waking = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, call: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run ``call`` in a thread, then ``done(result, error)`` in the event loop; exactly one of both is None.

        A ``call`` that returns None gives None for both.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._outstanding += 1
        if self._outstanding > len(self._threads) < self._limit:
            self._start_thread()
        self._jobs.put((call, done))

    def take_back(self) -> list[Callable[[], object]]:
        """Calls that no thread has begun, in the order of submission; they are the caller's again."""
        calls: list[Callable[[], object]] = []
        with contextlib.suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                calls.append(job[0])
        self._outstanding -= len(calls)
        return calls

    def stop(self) -> None:
        """Let the threads end after the calls submitted so far. Idempotent."""
        for _ in self._threads:
            self._jobs.put(None)

    def join(self) -> None:
        """Wait until the threads have ended. Blocking: call it in a thread, after :meth:`stop`."""
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._carry_out(*job)
            # Do not keep the last request's arrays alive while waiting for the next.
            del job

    def _carry_out(self, call: Callable[[], object], done: Callable[[Any, BaseException | None], None]) -> None:
        try:
            result = call()
        except BaseException as error:
            outcome = error
            self._finished.append(lambda: done(None, outcome))
        else:
            self._finished.append(lambda: done(result, None))
        self._wake()

    def _wake(self) -> None:
        # The flag is cleared before the results are collected, so a result that comes later wakes the loop anew.
        if not self._waking and self._loop is not None:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop was closed under a running call: nobody is left to hear of it.
                _log.debug("%s: the event loop is closed, a result was dropped", self._name)

    def _deliver(self) -> None:
        self._waking = False
        while self._finished:
            self._outstanding -= 1
            try:
                self._finished.popleft()()
            except Exception:
                _log.exception("%s: a callback failed", self._name)
