"""Middleware: what happens to every request before a route sees it.

From the outside in: :class:`RequestContext` (request id, access log, security headers, no exception escapes),
:class:`Admission` (how many at once, which host, whose token), :class:`BodyLimit` (how much, how slowly). Plain
ASGI: no tasks, no buffering beyond the bounded body.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems, request_id
from service.api.auth import Gate

#: Asked for every few seconds by machines, so logged at debug level only.
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_log = structlog.get_logger("service.api.access")


class RequestContext:
    """Names the request, logs it once it is answered, adds security headers, turns escaped exceptions into problems."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = request_id.begin(Headers(scope=scope).get(request_id.HEADER))
        started = time.perf_counter()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[request_id.HEADER] = name
                for key, value in SECURITY_HEADERS.items():
                    headers[key] = value
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=name):
            try:
                await self.app(scope, receive, send_with_headers)
            except Exception as error:
                answer = problems.internal_error(error, scope["path"])
                if status is not None:
                    # The answer has begun; only breaking the connection tells the client that it is not whole.
                    raise
                await answer(scope, receive, send_with_headers)
            finally:
                log = _log.debug if scope["path"] in QUIET_PATHS else _log.info
                log(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.perf_counter() - started, 6),
                )


class Admission:
    """Refuses a request that is one too many, that names another host, or that lacks the token.

    Health checks pass always: an orchestrator must not end a service because it is busy.

    Args:
        app: What follows.
        gate: Decides on host and token.
        max_concurrent: Requests in progress at once.
    """

    def __init__(self, app: ASGIApp, gate: Gate, max_concurrent: int) -> None:
        self.app = app
        self.gate = gate
        self.max_concurrent = max_concurrent
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        refusal = self.gate.refusal(path, Headers(scope=scope))
        if refusal is not None:
            await problems.problem_response(refusal.kind, refusal.detail, path, headers=refusal.headers)(
                scope, receive, send
            )
            return
        if path in self.gate.open_paths:
            await self.app(scope, receive, send)
            return
        if self._running >= self.max_concurrent:
            detail = f"{self._running} requests are in progress; try again in a moment"
            await problems.problem_response(problems.OVERLOADED, detail, path)(scope, receive, send)
            return
        self._running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._running -= 1


class BodyLimit:
    """Reads the whole body before a route runs: at most ``max_bytes``, within ``timeout_seconds``."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        close = {"Connection": "close"}
        try:
            async with asyncio.timeout(self.timeout_seconds):
                body = await self._read(scope, receive)
        except TimeoutError:
            detail = f"it did not arrive within {self.timeout_seconds:g} s"
            await problems.problem_response(problems.BODY_TIMEOUT, detail, path, headers=close)(scope, receive, send)
            return
        if body is None:
            detail = f"it may have at most {self.max_bytes} bytes"
            await problems.problem_response(problems.BODY_TOO_LARGE, detail, path, headers=close)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, or None when it is too large. A client that leaves early has an empty body."""
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            return None
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self.max_bytes:
                return None
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)
