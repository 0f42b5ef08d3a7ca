"""Target: the server that is to be loaded, as people write it, and what can go wrong with it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from service.domain.errors import InvalidValueError, RegulusError


class TargetError(RegulusError):
    """The server cannot be loaded as asked: unreachable, no such model or signature, or it refuses the requests."""


class Protocol(StrEnum):
    """How the server is spoken to."""

    GRPC = "grpc"
    REST = "http"


@dataclass(frozen=True, slots=True)
class Target:
    """One server.

    Attributes:
        protocol: gRPC or REST.
        host: Name or address; for a Unix socket (gRPC only) its path.
        port: TCP port; 0 for a Unix socket.
    """

    protocol: Protocol
    host: str
    port: int

    @property
    def address(self) -> str:
        """``host:port`` as gRPC and HTTP want it, or ``unix:path``."""
        if self.port == 0:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine beyond doubt: a loopback address, ``localhost`` or a Unix socket."""
        if self.port == 0 or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return self.address if self.port == 0 else f"{self.protocol}://{self.address}"


def parse_target(text: str, *, allow_remote: bool = False) -> Target:
    """Read ``grpc://host:port``, ``http://host:port`` or ``unix:/path/of/socket`` (gRPC).

    Args:
        text: What the user wrote.
        allow_remote: Whether a server on another machine may be loaded. Off by default: a load generator must not
            hit strangers because of a slip of the pen.

    Raises:
        InvalidValueError: It cannot be read, or is another machine and ``allow_remote`` is not set.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise InvalidValueError("target", "unix: needs the path of the server's socket")
        return Target(Protocol.GRPC, path, 0)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidValueError("target", f"{text!r}: {error}") from error
    if parts.scheme not in tuple(Protocol) or not parts.hostname or not port:
        raise InvalidValueError("target", f"{text!r} is not like grpc://127.0.0.1:8500 or http://127.0.0.1:8501")
    if parts.path.strip("/") or parts.query or parts.username:
        raise InvalidValueError("target", f"{text!r}: only scheme, host and port belong here; --model names the model")
    target = Target(Protocol(parts.scheme), parts.hostname, port)
    if not (allow_remote or target.is_local):
        raise InvalidValueError(
            "target", f"{target.host} is not this machine; to load another one on purpose, add --allow-remote"
        )
    return target
