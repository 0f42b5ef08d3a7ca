"""Guard: how a small API, such as an agent's, is kept from strangers: a token, TLS, certificates of clients.

Four options, the same for every program that has such an API.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.access.exposure import check_exposure
from service.access.tls import CertificateWatch, RenewedContext, server_context
from service.access.token_file import TokenSource
from service.domain.errors import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What the user chose.

    Attributes:
        token_file: One token, or several with scopes as ``regulus token create`` makes them; None asks for none.
        certificate: PEM; with it the API speaks HTTPS only.
        key: PEM, its key.
        client_ca: PEM: authorities, one of which must have signed a client's certificate; None asks for none.
    """

    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def check(self, host: str, field: str) -> None:
        """Refuse options that do not go together, and to listen beyond loopback without knowing who asks.

        Args:
            host: Address to listen on.
            field: What the user calls it.

        Raises:
            InvalidValueError: Names the field.
        """
        if (self.certificate is None) != (self.key is None):
            raise InvalidValueError(field, "a certificate and its key are given together")
        if self.client_ca is not None and self.certificate is None:
            raise InvalidValueError(field, "to ask clients for certificates the agent needs one of its own")
        check_exposure(
            host,
            authenticated=not self.local,
            field=field,
            remedy="a token file (or authorities for clients' certificates)",
        )

    def tokens(self, field: str) -> TokenSource | None:
        """The tokens that count; None where none are asked for.

        Raises:
            InvalidValueError: Their file cannot be used.
        """
        return TokenSource(files=[(self.token_file, field)]) if self.token_file is not None else None

    @property
    def local(self) -> bool:
        """Whether nobody is asked who they are, so that only callers on this machine may be answered."""
        return self.token_file is None and self.client_ca is None

    def tls(self) -> RenewedContext | None:
        """The TLS context and what renews its certificate; None for plain HTTP.

        Raises:
            InvalidValueError: A file cannot be used.
        """
        if self.certificate is None or self.key is None:
            return None
        context = server_context(self.certificate, self.key, self.client_ca, field="the agent's certificate")
        return context, CertificateWatch(context, self.certificate, self.key)
