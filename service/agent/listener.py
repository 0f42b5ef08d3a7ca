"""HttpListener: an ASGI application on a port, in the program's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from service.access.tls import RenewedContext
from service.agent.errors import ListenError
from service.domain.clock import SystemClock

#: Connections that may wait to be accepted.
_BACKLOG = 2048

#: Idle connections are the client's to close. Where a process stood still for longer than this (stopped, swapped out),
#: it would close them before it reads the requests that came meanwhile.
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    """Leaves signals to the program, which has more than HTTP to stop, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class HttpListener:
    """Binds at once, so that a taken port is found before minutes of loading; listens from :meth:`start` on.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        name: For messages.

    Raises:
        ListenError: The port is taken or not allowed.
    """

    def __init__(self, host: str, port: int, name: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise ListenError(
                f"{name} cannot listen on {host}:{port}: {error.strerror}. Choose another port."
            ) from error
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def start(self, app: Any, drain_timeout_seconds: float, tls: RenewedContext | None = None) -> None:
        """Begin to answer with ``app``.

        Args:
            app: ASGI application.
            drain_timeout_seconds: How long :meth:`stop` lets requests go on.
            tls: For HTTPS; None for plain HTTP.
        """
        context, watch = tls if tls is not None else (None, None)
        self._server = _Server(
            uvicorn.Config(
                app,
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(drain_timeout_seconds),
                ssl_context_factory=(lambda _config, _default: context) if context is not None else None,
            )
        )
        if watch is not None:
            self._renewing = asyncio.create_task(watch.watch(SystemClock()))
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Take no new connections, finish requests in flight. Idempotent."""
        if self._server is None or self._serving is None:
            self._socket.close()
            return
        if self._renewing is not None:
            self._renewing.cancel()
        self._server.should_exit = True
        await self._serving
