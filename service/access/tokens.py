"""Tokens: secrets that callers carry, known here by their digests only.

A token made by :func:`new_secret` is 256 random bits. Slow hashes (bcrypt, Argon2) make guessing dear where people
choose the secret; 2²⁵⁶ values cannot be guessed however fast the hash is, and a slow one would let anybody spend our
CPU by sending wrong tokens. So the digest is plain SHA-256, as for the API keys of most services.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service.access.scopes import Scope
from service.domain.errors import InvalidValueError

#: What our tokens begin with, so that people, scanners for leaked secrets and our own log filter know one.
MARK = "rgl_"
_SECRET_BYTES = 32

#: Tokens that people choose themselves are at least this long; shorter ones can be guessed.
MIN_SECRET_CHARS = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token, without its secret.

    Attributes:
        name: Who or what it was made for; what logs call its bearer.
        scope: What it allows.
        digest: SHA-256 of the secret.
        created_at: Unix seconds.
        expires_at: Unix seconds from which it no longer counts; None for never.
    """

    name: str
    scope: Scope
    digest: bytes
    created_at: float
    expires_at: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidValueError(
                "name", f"is 1 to 64 letters, digits and ._@- beginning with a letter or digit, not {self.name[:80]!r}"
            )


class Tokens:
    """Some tokens, each with a name of its own.

    Raises:
        InvalidValueError: Two have one name, or one secret.
    """

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._tokens = tuple(tokens)
        for what, values in (
            ("name", [token.name for token in self._tokens]),
            ("secret", [token.digest for token in self._tokens]),
        ):
            if len(set(values)) < len(values):
                raise InvalidValueError("tokens", f"two tokens have the same {what}; each needs its own")

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, secret: str, now: float) -> Token | None:
        """The token with this secret that has not expired at ``now`` (Unix seconds); None where there is none.

        Every token is compared, each in constant time: how long it takes tells neither which one nearly matched nor
        which one did.
        """
        digest = digest_of(secret)
        found: Token | None = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is not None and found.expires_at is not None and now >= found.expires_at:
            return None
        return found


def new_secret() -> str:
    """A new random secret."""
    return MARK + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def check_secret(field: str, secret: str) -> None:
    """Refuse what cannot be a bearer token, or is too short for one.

    Raises:
        InvalidValueError: It is; the message names ``field``, never the secret.
    """
    if len(secret) < MIN_SECRET_CHARS or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidValueError(field, f"a token is at least {MIN_SECRET_CHARS} visible ASCII characters")


def bearer(authorization: str) -> str | None:
    """The secret in an ``Authorization`` header; None where it carries no bearer token."""
    scheme, _, given = authorization.partition(" ")
    return (given.strip() or None) if scheme.lower() == "bearer" else None
