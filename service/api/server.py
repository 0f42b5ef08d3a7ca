"""The server: one port, one process, a clean end.

The port is taken before anything else begins, so that a taken one costs nothing and says so in one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.api.settings import ServerSettings, Settings
from service.domain.errors import RegulusError

#: Connections that may wait to be accepted.
BACKLOG = 128


class PortError(RegulusError):
    """The address cannot be listened on; the message names it."""


class _Server(uvicorn.Server):
    """uvicorn's server that ends at a signal instead of dying of it, and says when it answers.

    Args:
        config: uvicorn's own.
        started: Called once requests are answered.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then say so."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM while the block runs; a second SIGINT no longer waits for requests in progress."""
        taken = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.should_exit = True


def listen(settings: ServerSettings) -> socket.socket:
    """Take the port.

    Raises:
        PortError: It is taken, not permitted, or the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{settings.host}:{settings.port}"
        raise PortError(f"cannot listen on {where}: {reason}; choose another with --port or --host") from error


def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: All settings.
        announce: Told the root URL once requests are answered.

    Raises:
        PortError: The address cannot be listened on.
        StoreError: The history cannot be opened.
        InvalidValueError: The token's file cannot be used.
    """
    app = create_app(settings)
    with listen(settings.server) as listener:
        asyncio.run(_serve(app, listener, settings.server, announce))


async def _serve(
    app: FastAPI, listener: socket.socket, settings: ServerSettings, announce: Callable[[str], None]
) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        app,
        # The lifespan is entered below, where its errors come out as they are instead of as a logged traceback.
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing in front of this service is trusted to say who the client is.
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=round(settings.shutdown_timeout_seconds),
    )
    server = _Server(config, started=lambda: announce(url))
    with server.capture_signals():
        async with app.router.lifespan_context(app):
            await server.serve([listener])
