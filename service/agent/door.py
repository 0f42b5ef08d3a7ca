"""Door: which callers the agent lets in, and for what; round the whole API.

Asking takes the scope ``read``, changing ``operate``. Whether the node is well may be asked by everybody: those who
restart what is ill have no token.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import scopes
from service.access.token_file import TokenSource
from service.access.tokens import bearer
from service.agent.problems import ProblemError, respond
from service.domain.clock import Clock

HEALTH_PATH = "/agent/v1/health"


def token_source(file: Path | None, field: str) -> TokenSource | None:
    """The tokens in a file; None where none is named.

    Args:
        file: The file.
        field: What errors call it.

    Raises:
        InvalidValueError: It cannot be used.
    """
    return TokenSource(files=[(file, field)]) if file is not None else None


def guarded(app: ASGIApp, tokens: TokenSource | None, clock: Clock) -> ASGIApp:
    """``app`` behind a :class:`Door`; without tokens ``app`` as it is."""
    return Door(app, tokens, clock) if tokens is not None else app


class Door:
    """An ASGI application that asks for a bearer token before it lets a request through to another.

    Args:
        app: The other.
        tokens: Those that open.
        clock: Tells which have expired.
    """

    def __init__(self, app: ASGIApp, tokens: TokenSource, clock: Clock) -> None:
        self._app = app
        self._tokens = tokens
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and (problem := self._problem(Request(scope))) is not None:
            headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else None
            await respond(problem, headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _problem(self, request: Request) -> ProblemError | None:
        if request.url.path == HEALTH_PATH:
            return None
        secret = bearer(request.headers.get("Authorization", ""))
        token = self._tokens.current().find(secret, self._clock.time()) if secret is not None else None
        if token is None:
            return ProblemError(401, "Unauthorized", "The agent wants a token: Authorization: Bearer TOKEN.")
        needed = scopes.Scope.READ if request.method in ("GET", "HEAD") else scopes.Scope.OPERATE
        if not token.scope.allows(needed):
            return ProblemError(403, "Forbidden", f"The token {token.name} may {token.scope}; this takes {needed}.")
        return None
