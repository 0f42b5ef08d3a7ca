"""HttpPool: keep-alive HTTP/1.1 connections to one server, one request at a time on each, on bare asyncio protocols.

General HTTP clients cost several times more processor time a request than the whole answer of a light model takes;
a load generator that shares the machine with its server cannot afford that. A request is written at once to an
idle connection, or to a new one: nothing ever waits for a connection to become free.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from service.domain.errors import InvalidValueError
from service.loadgen.http1 import HttpError, HttpResponse, ResponseParser
from service.loadgen.transport import NO_CONNECTION, TIMED_OUT

#: Servers close idle connections, usually after 5 s; younger ones are safe to use again.
IDLE_SECONDS: Final = 3.0
#: How often overdue requests are looked for, and so the error of a time-out.
SWEEP_SECONDS: Final = 0.05
#: Descriptors that the process needs beside its connections.
SPARE_DESCRIPTORS: Final = 128


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer.

    Attributes:
        code: Outcome, as in :mod:`service.loadgen.transport`.
        message: What happened.
    """

    code: str
    message: str


Finished = Callable[[HttpResponse | Failure], None]


class _Connection(asyncio.Protocol):
    """One connection; at most one request at a time."""

    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool
        self._parser = ResponseParser()
        self._wire: asyncio.Transport | None = None
        self._finished: Finished | None = None
        self.idle_since = 0.0
        self.deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)  # create_connection gives nothing else

    def request(self, framed: bytes, finished: Finished, deadline: float) -> None:
        """Write; ``finished`` hears how it ended."""
        self._finished, self.deadline = finished, deadline
        if self._wire is not None:  # Else it was lost just now, and connection_lost tells.
            self._wire.write(framed)

    def data_received(self, data: bytes) -> None:
        try:
            response = self._parser.feed(data)
        except HttpError as error:
            self.end(Failure("UNKNOWN", str(error)))
            return
        if response is not None:
            self.end(response)

    def connection_lost(self, error: Exception | None) -> None:
        self._wire = None
        self.end(
            Failure(NO_CONNECTION, f"the connection was lost before the answer: {error or 'the server closed it'}")
        )

    def end(self, result: HttpResponse | Failure) -> None:
        """The request, if there is one, is over; the connection is kept where it may be used again."""
        finished, self._finished = self._finished, None
        keep = finished is not None and isinstance(result, HttpResponse) and result.keep_alive
        self._pool.release(self, keep=keep and self._wire is not None)
        if finished is not None:
            finished(result)

    def abort(self) -> None:
        """Close without waiting."""
        if self._wire is not None:
            self._wire.abort()


class HttpPool:
    """Connections to one server, in one event loop.

    Args:
        host: Name or address.
        port: TCP port.
        timeout: Seconds a request may take, connecting included.
        max_connections: Most requests that the caller will have in flight.

    Raises:
        InvalidValueError: The operating system allows this process too few descriptors for ``max_connections``.
    """

    def __init__(self, host: str, port: int, timeout: float, max_connections: int) -> None:
        self._host, self._port = host, port
        self._timeout = timeout
        self._idle: list[_Connection] = []
        self._busy: dict[_Connection, None] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        _allow_descriptors(max_connections + SPARE_DESCRIPTORS)
        self._sweeper: asyncio.TimerHandle = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def exchange(self, framed: bytes, finished: Finished) -> None:
        """Send a whole request; ``finished`` is called once, with the answer or why there is none."""
        now = time.monotonic()
        # The youngest first: under light load the same few connections stay warm and the others grow old and go.
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < IDLE_SECONDS:
                self._start(connection, framed, finished, now + self._timeout)
                return
            connection.abort()
        task = self._loop.create_task(self._open(framed, finished, now + self._timeout))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _start(self, connection: _Connection, framed: bytes, finished: Finished, deadline: float) -> None:
        self._busy[connection] = None
        connection.request(framed, finished, deadline)

    async def _open(self, framed: bytes, finished: Finished, deadline: float) -> None:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                _, connection = await self._loop.create_connection(partial(_Connection, self), self._host, self._port)
        except TimeoutError:
            finished(Failure(TIMED_OUT, f"no connection within {self._timeout:g} s"))
        except OSError as error:
            finished(Failure(NO_CONNECTION, str(error)))
        else:
            self._start(connection, framed, finished, deadline)

    def release(self, connection: _Connection, *, keep: bool) -> None:
        """A connection's request is over (called by the connection)."""
        self._busy.pop(connection, None)
        if keep:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
            return
        if connection in self._idle:
            self._idle.remove(connection)
        connection.abort()

    def _sweep(self) -> None:
        """End what is overdue. All share one time-out, but connecting may have reordered them; so look at all."""
        now = time.monotonic()
        for connection in [c for c in self._busy if c.deadline <= now]:
            connection.end(Failure(TIMED_OUT, f"no answer within {self._timeout:g} s"))
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    async def close(self) -> None:
        """Drop everything. Idempotent."""
        self._sweeper.cancel()
        for task in tuple(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()
        self._busy.clear()
        await asyncio.sleep(0)  # Lets the aborted sockets close.


def _allow_descriptors(needed: int) -> None:
    """Raise this process's soft limit on open files to ``needed`` where it is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError) as error:
        raise InvalidValueError(
            "max-inflight", f"needs {needed} open files, but this process may have {hard}; lower it or raise ulimit -n"
        ) from error
