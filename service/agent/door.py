"""Door: which callers the agent lets in, and for what; round the whole API.

Asking takes the scope ``read``, changing ``operate``. Whether the node is well may be asked by everybody: those who
restart what is ill have no token.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import redaction, scopes
from service.access.exposure import names_loopback
from service.access.limiter import of_failures, retry_after
from service.access.token_file import TokenSource
from service.access.tokens import bearer
from service.agent.problems import ProblemError, respond
from service.domain.clock import Clock

HEALTH_PATH = "/agent/v1/health"

#: Most characters of a path that are logged.
_MAX_PATH = 200

_log = logging.getLogger(__name__)


class Door:
    """An ASGI application that asks who is there before it lets a request through to another.

    Args:
        app: The other.
        tokens: Those that open; None asks for none.
        clock: Tells which have expired.
        local: Whether only those are let in who name this machine as the host; for where nobody shows anything.
    """

    def __init__(self, app: ASGIApp, tokens: TokenSource | None, clock: Clock, *, local: bool) -> None:
        self._app = app
        self._tokens = tokens
        self._clock = clock
        self._local = local
        self._failures = of_failures(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and (refusal := self._refusal(Request(scope))) is not None:
            problem, headers = refusal
            if problem.status != HTTPStatus.TOO_MANY_REQUESTS:  # a flood must not fill the log
                path = redaction.mask_text(scope["path"][:_MAX_PATH])
                _log.warning("refused with %d: %s %r", problem.status, scope["method"], path)
            await respond(problem, headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> tuple[ProblemError, dict[str, str]] | None:
        if request.url.path == HEALTH_PATH:
            return None
        if self._local and not names_loopback(request.headers.get("Host", "")):
            return ProblemError(421, "Misdirected", "Without a token the agent answers to names of loopback only."), {}
        if self._tokens is None:
            return None
        secret = bearer(request.headers.get("Authorization", ""))
        token = self._tokens.current().find(secret, self._clock.time()) if secret is not None else None
        if token is None:
            wait = self._failures.take(request.client.host if request.client is not None else "")
            if wait > 0:
                detail = "Too many requests without a valid token came from this address."
                return ProblemError(429, "Too many requests", detail), {"Retry-After": retry_after(wait)}
            detail = "The agent wants a token: Authorization: Bearer TOKEN."
            return ProblemError(401, "Unauthorized", detail), {"WWW-Authenticate": "Bearer"}
        needed = scopes.Scope.READ if request.method in ("GET", "HEAD") else scopes.Scope.OPERATE
        if token.scope.allows(needed):
            return None
        return ProblemError(403, "Forbidden", f"The token {token.name} may {token.scope}; this takes {needed}."), {}
