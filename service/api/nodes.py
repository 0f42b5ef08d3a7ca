"""How agents are reached: with their token, sent to nobody else, and with TLS as the settings want it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator, Iterable

import httpx

from service.access import redaction
from service.access.tls import client_context
from service.access.token_file import SecretFile
from service.api.settings import AgentsSettings

#: To one node; a loop has one question and one reading under way at a time.
_MAX_CONNECTIONS = 4


class AgentAuth(httpx.Auth):
    """Adds the bearer token to requests for agents, and to no others: metrics pages may be anybody's.

    Args:
        secret: Gives the token that counts now.
        urls: Roots of the agents.
    """

    def __init__(self, secret: Callable[[], str], urls: Iterable[str]) -> None:
        self._secret = secret
        self._origins = frozenset(_origin(httpx.URL(url)) for url in urls)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """One request, with the token where it belongs."""
        if _origin(request.url) in self._origins:
            request.headers["Authorization"] = f"Bearer {self._secret()}"
        yield request


def client_factory(
    settings: AgentsSettings, urls: Iterable[str], context: ssl.SSLContext
) -> Callable[[], httpx.AsyncClient]:
    """Makes HTTP clients for nodes; every call passes its own time-out.

    Args:
        settings: How agents are reached.
        urls: Roots of the agents.
        context: For https; see :func:`agent_context`.

    Raises:
        InvalidValueError: The token's file cannot be used.
    """
    secret = _secret(settings)
    auth = AgentAuth(secret, urls) if secret is not None else None
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS)
    return lambda: httpx.AsyncClient(limits=limits, follow_redirects=False, verify=context, auth=auth)


def agent_context(settings: AgentsSettings) -> ssl.SSLContext:
    """The TLS context of all clients: reading the certificates takes a while, so it is made once.

    Raises:
        InvalidValueError: A file cannot be used.
    """
    return client_context(settings.ca, settings.client_certificate, settings.client_key, field="agents")


def _secret(settings: AgentsSettings) -> Callable[[], str] | None:
    if settings.token is not None:
        token = settings.token.get_secret_value()
        redaction.register(token)
        return lambda: token
    if settings.token_file is not None:
        return SecretFile(settings.token_file, "agents.token_file").current
    return None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
