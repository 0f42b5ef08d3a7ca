"""Middleware: what happens to every request before a route sees it.

From the outside in: :class:`RequestContext` (request id, security headers, no exception escapes, accounts),
:class:`Admission` (who asks, for what, how often, how many at once), :class:`BodyLimit` (how much, how slowly). Plain
ASGI: no tasks, no buffering beyond the bounded body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.limiter import RateLimiter, retry_after
from service.api import facts, problems, request_id
from service.api.accounting import Accounting
from service.api.auth import OPEN_PATHS, Caller, Gate, Refusal
from service.api.directory import Directory
from service.api.facts import Facts
from service.api.scopes import STREAMED_OPERATIONS

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

#: Over TLS: for a year browsers do not come back without it.
TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}


class RequestContext:
    """Names the request, adds security headers, turns escaped exceptions into problems, keeps the books.

    Args:
        app: What follows.
        directory: Gives the operations there are; called once the application is complete.
        accounting: Told of every request that has ended.
    """

    def __init__(self, app: ASGIApp, directory: Callable[[], Directory], accounting: Accounting) -> None:
        self.app = app
        self.directory = directory
        self.accounting = accounting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = request_id.begin(Headers(scope=scope).get(request_id.HEADER))
        started = time.perf_counter()
        status: int | None = None
        secured = SECURITY_HEADERS | (TLS_HEADERS if scope.get("scheme") == "https" else {})
        known = Facts(
            request_id=name,
            method=scope["method"],
            path=scope["path"],
            address=(scope.get("client") or ("", 0))[0],
            operation=self.directory().find(scope["method"], scope["path"]),
        )
        facts.attach(scope, known)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[request_id.HEADER] = name
                for key, value in secured.items():
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
                self.accounting.answered(known, status, time.perf_counter() - started)


class Admission:
    """Lets a request in that names this host or carries a token, whose scope suffices, and that is not one too many.

    Nothing passes that the API's document does not hold, so that no route can be reached whose scope nobody states.
    Health checks pass always: an orchestrator must not end a service because it is busy.

    Args:
        app: What follows.
        gate: Tells who asks.
        limiter: How often one caller may ask.
        max_concurrent: Requests in progress at once.
        max_header_bytes: Path, query and headers together. uvicorn's own bound holds only for heads that come in parts.
    """

    def __init__(
        self, app: ASGIApp, gate: Gate, limiter: RateLimiter, max_concurrent: int, max_header_bytes: int
    ) -> None:
        self.app = app
        self.gate = gate
        self.limiter = limiter
        self.max_concurrent = max_concurrent
        self.max_header_bytes = max_header_bytes
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        known = facts.of(scope)
        known.refusal = self._too_large(scope) or self._refusal(known, Headers(scope=scope))
        if known.refusal is not None:
            kind, detail, headers = known.refusal.kind, known.refusal.detail, known.refusal.headers
            await problems.problem_response(kind, detail, known.path, headers=headers)(scope, receive, send)
            return
        self._running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._running -= 1

    def _refusal(self, known: Facts, headers: Headers) -> Refusal | None:
        """Why a request may not pass; None when it may."""
        caller = self.gate.identify(headers, known.address)
        if isinstance(caller, Refusal):
            return caller
        known.caller = caller
        # A token is one caller wherever it is used; without tokens every address is.
        wait = self.limiter.take(f"{caller.name} {known.address if not self.gate.asks else ''}")
        if wait > 0:
            detail = f"{caller.name!r} asks too often; try again in {wait:.1f} s"
            return Refusal(problems.RATE_LIMITED, detail, {"Retry-After": retry_after(wait)})
        return _no_such_operation(known) or _beyond_scope(known, caller) or self._overload()

    def _too_large(self, scope: Scope) -> Refusal | None:
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        size += len(scope["path"]) + len(scope["query_string"])
        if size <= self.max_header_bytes:
            return None
        detail = f"they have {size} bytes, and may have {self.max_header_bytes}"
        return Refusal(problems.HEAD_TOO_LARGE, detail, {"Connection": "close"})

    def _overload(self) -> Refusal | None:
        if self._running < self.max_concurrent:
            return None
        return Refusal(problems.OVERLOADED, f"{self._running} requests are in progress; try again in a moment")


def _no_such_operation(known: Facts) -> Refusal | None:
    operation = known.operation
    if not operation.methods:
        return Refusal(problems.NOT_FOUND, f"{known.method} {known.path}: Not Found")
    if known.method not in operation.methods:
        allowed = {"Allow": ", ".join(operation.methods)}
        return Refusal(problems.METHOD_NOT_ALLOWED, f"{known.method} {known.path}: Method Not Allowed", allowed)
    return None


def _beyond_scope(known: Facts, caller: Caller) -> Refusal | None:
    needed = known.operation.scope
    if caller.scope.allows(needed):
        return None
    detail = f"this needs a token with scope {needed.value}; {caller.name!r} has scope {caller.scope.value}"
    return Refusal(problems.FORBIDDEN, detail)


class BodyLimit:
    """Reads the whole body before a route runs: at most ``max_bytes``, within ``timeout_seconds``.

    Operations that stream see to that themselves.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or facts.of(scope).operation.id in STREAMED_OPERATIONS:
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
        facts.of(scope).body = body
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
