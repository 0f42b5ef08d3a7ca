"""Exposure: which addresses can be reached from elsewhere, and what listening there takes."""

from __future__ import annotations

import ipaddress

from service.domain.errors import InvalidValueError


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_loopback(host_header: str) -> bool:
    """Whether a Host header, with or without a port, names this machine.

    Where no token is asked for, others are refused: else a web page could point a name of its own at 127.0.0.1 (DNS
    rebinding) and ask from a browser.
    """
    if host_header.startswith("["):
        return is_loopback(host_header[1:].partition("]")[0])
    return is_loopback(host_header.rpartition(":")[0] if ":" in host_header else host_header)


def check_exposure(host: str, *, authenticated: bool, field: str, remedy: str) -> None:
    """Refuse to listen where others can reach without being asked who they are.

    Args:
        host: Address to listen on.
        authenticated: Whether callers must show a token or a certificate.
        field: What errors call the address.
        remedy: What to set, such as ``auth_token_file``.

    Raises:
        InvalidValueError: It is beyond loopback, and nobody is asked.
    """
    if not authenticated and not is_loopback(host):
        raise InvalidValueError(
            field,
            f"{host} can be reached from other machines, which needs a token: set {remedy}, or listen on 127.0.0.1",
        )
