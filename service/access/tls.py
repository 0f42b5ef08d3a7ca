"""TLS from files: contexts for a server and for a client, and certificates that are replaced while they are in use."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from service.domain.clock import Clock
from service.domain.errors import InvalidValueError

#: How often files are looked at for a renewed certificate, seconds. Renewal happens weeks before the old one ends.
WATCH_SECONDS = 10.0

_log = logging.getLogger(__name__)


def server_context(certificate: Path, key: Path, client_ca: Path | None = None, *, field: str) -> ssl.SSLContext:
    """A context for a server: TLS 1.2 or newer.

    Args:
        certificate: PEM: the certificate, then those between it and the root.
        key: PEM, without a passphrase.
        client_ca: PEM: who signs the certificates that clients must show; None asks them for none.
        field: What errors call the files.

    Raises:
        InvalidValueError: A file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key, field)
    if client_ca is not None:
        _trust(context, client_ca, field)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None, *, field: str
) -> ssl.SSLContext:
    """A context for a client, which always checks the server's certificate and name.

    Args:
        ca: PEM: who signs servers' certificates; None trusts the system's authorities.
        certificate: PEM to show to servers that ask; None shows none.
        key: Its key; None when the certificate's file holds it.
        field: What errors call the files.

    Raises:
        InvalidValueError: A file cannot be used.
    """
    if ca is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, ca, field)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        _load(context, certificate, key, field)
    return context


class CertificateWatch:
    """Puts a renewed certificate into a context that is in use: connections made from then on see it.

    A pair that cannot be used, such as one of which only one file has been replaced so far, is left alone until it can.

    Args:
        context: Where the pair is in use.
        certificate: PEM.
        key: PEM.
    """

    def __init__(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        self._context = context
        self._certificate = certificate
        self._key = key
        self._seen = self._fingerprint()

    def refresh(self) -> bool:
        """Look at the files; True when a new pair was taken."""
        seen = self._fingerprint()
        if seen == self._seen:
            return False
        try:
            # Tried elsewhere first: a pair that does not match would break the context in use.
            server_context(self._certificate, self._key, field="certificate")
            _load(self._context, self._certificate, self._key, "certificate")
        except InvalidValueError as error:
            _log.warning("the certificate has changed but cannot be used, the former one stays: %s", error)
            self._seen = seen
            return False
        self._seen = seen
        _log.info("a new certificate is in use: %s", self._certificate)
        return True

    async def watch(self, clock: Clock) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await clock.sleep(WATCH_SECONDS)
            self.refresh()

    def _fingerprint(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_changed_at(path) for path in (self._certificate, self._key))


RenewedContext = tuple[ssl.SSLContext, CertificateWatch]
"""A server's context, and what renews its certificate."""


def _changed_at(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None, field: str) -> None:
    try:
        # Without a passphrase of our own OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        files = f"{certificate} and {key}" if key is not None else f"{certificate}"
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InvalidValueError(field, f"{files} cannot be used as certificate and key: {reason}") from error


def _trust(context: ssl.SSLContext, ca: Path, field: str) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InvalidValueError(field, f"{ca} cannot be used as a list of certificate authorities: {reason}") from error


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which an unattended service cannot give")
