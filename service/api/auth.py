"""Who may ask: a bearer token, or nobody but this machine.

Without a token the service listens on loopback only, and answers only requests whose Host header names loopback: else a
web page could point a name of its own at 127.0.0.1 (DNS rebinding) and steer the model server from a browser.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers

from service.api.problems import UNAUTHENTICATED, WRONG_HOST, Kind

#: For probes, which carry no token; they tell nothing but whether the service works.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not pass."""

    kind: Kind
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """Decides from path and headers alone whether a request may pass.

    Args:
        token: The bearer token that every request must carry; None admits loopback hosts without one.
    """

    open_paths = OPEN_PATHS

    def __init__(self, token: str | None) -> None:
        # Digests have one length, so comparing them tells an attacker not even the token's length.
        self._digest = _digest(token.encode()) if token is not None else None

    def refusal(self, path: str, headers: Headers) -> Refusal | None:
        """Why the request may not pass; None when it may."""
        if path in self.open_paths:
            return None
        if self._digest is None:
            return self._host_refusal(headers.get("host", ""))
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(given.strip().encode("latin-1")), self._digest):
            return None
        detail = "send the header Authorization: Bearer TOKEN with the token of this service"
        return Refusal(UNAUTHENTICATED, detail, {"WWW-Authenticate": 'Bearer realm="regulus"'})

    @staticmethod
    def _host_refusal(host: str) -> Refusal | None:
        if is_loopback(_host_name(host)):
            return None
        detail = f"this service has no token, so it answers to names of loopback only, not to {host[:100]!r}"
        return Refusal(WRONG_HOST, detail)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _host_name(header: str) -> str:
    """Host header without its port and without the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header
