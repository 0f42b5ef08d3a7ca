"""Who asks: the bearer of a known token or, where there are no tokens, anybody on this machine.

Without a token the service listens on loopback only, and answers only requests whose Host header names loopback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers

from service.access.exposure import names_loopback
from service.access.limiter import of_failures, retry_after
from service.access.scopes import Scope
from service.access.token_file import TokenSource
from service.access.tokens import bearer
from service.api.problems import RATE_LIMITED, UNAUTHENTICATED, WRONG_HOST, Kind
from service.domain.clock import Clock

#: For probes, which carry no token; they tell nothing but whether the service works.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

#: What the audit log calls a caller where no token is asked for.
LOCAL_NAME = "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: Of the token.
        scope: What may be done.
    """

    name: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not pass."""

    kind: Kind
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """Tells from the headers who asks.

    Args:
        tokens: Those that count; None admits loopback hosts without one, for everything.
        clock: Time.
    """

    def __init__(self, tokens: TokenSource | None, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._failures = of_failures(clock)

    @property
    def asks(self) -> bool:
        """Whether callers must show a token."""
        return self._tokens is not None

    def identify(self, headers: Headers, address: str) -> Caller | Refusal:
        """Who asks, or why that is not known.

        Args:
            headers: Of the request.
            address: Where it comes from.
        """
        if self._tokens is None:
            host = headers.get("host", "")
            if names_loopback(host):
                return Caller(LOCAL_NAME, Scope.ADMIN)
            detail = f"this service has no token, so it answers to names of loopback only, not to {host[:100]!r}"
            return Refusal(WRONG_HOST, detail)
        secret = bearer(headers.get("authorization", ""))
        token = self._tokens.current().find(secret, self._clock.time()) if secret is not None else None
        if token is not None:
            return Caller(token.name, token.scope)
        wait = self._failures.take(address)
        if wait > 0:
            detail = "too many requests without a valid token came from this address"
            return Refusal(RATE_LIMITED, detail, {"Retry-After": retry_after(wait)})
        detail = "send the header Authorization: Bearer TOKEN with a token of this service that has not expired"
        return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": 'Bearer realm="regulus"'})
