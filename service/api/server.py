"""The server: one port, one process, a clean end.

The port is taken before anything else begins, so that a taken one costs nothing and says so in one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from service.access.exposure import is_loopback
from service.access.tls import CertificateWatch, server_context
from service.api.app import create_app
from service.api.connection import patient_protocol
from service.api.settings import ServerSettings, Settings
from service.domain.clock import SystemClock
from service.domain.errors import RegulusError

_log = structlog.get_logger(__name__)

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
        InvalidValueError: A file of tokens, or for TLS, cannot be used.
    """
    app = create_app(settings)
    tls = _tls(settings.server)
    with listen(settings.server) as listener:
        if tls is None and not is_loopback(settings.server.host):
            _log.warning("tokens come in unencrypted: set server.tls_certificate, or put a proxy with TLS in front")
        asyncio.run(_serve(app, listener, settings.server, tls, announce))


def _tls(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate, key = settings.tls_certificate, settings.tls_key
    return server_context(certificate, key, settings.tls_client_ca, field="server.tls_certificate")


async def _serve(
    app: FastAPI,
    listener: socket.socket,
    settings: ServerSettings,
    tls: ssl.SSLContext | None,
    announce: Callable[[str], None],
) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls is not None else "http"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    config = uvicorn.Config(
        app,
        http=patient_protocol(settings.header_timeout_seconds),
        h11_max_incomplete_event_size=settings.max_header_bytes,
        limit_concurrency=settings.max_connections,
        backlog=BACKLOG,
        # The lifespan is entered below, where its errors come out as they are instead of as a logged traceback.
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing in front of this service is trusted to say who the client is.
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=round(settings.shutdown_timeout_seconds),
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
    )
    server = _Server(config, started=lambda: announce(url))
    with server.capture_signals():
        async with app.router.lifespan_context(app), _renewed(settings, tls):
            await server.serve([listener])


@contextlib.asynccontextmanager
async def _renewed(settings: ServerSettings, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Take renewed certificates while the block runs."""
    if tls is None or settings.tls_certificate is None or settings.tls_key is None:
        yield
        return
    watch = CertificateWatch(tls, settings.tls_certificate, settings.tls_key)
    task = asyncio.create_task(watch.watch(SystemClock()), name="certificate")
    try:
        yield
    finally:
        task.cancel()
