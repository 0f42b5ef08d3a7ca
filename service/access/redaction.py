"""Masking: what may be a secret does not reach a log.

Three nets, since none catches everything: names of values, shapes of secrets (our tokens, ``Bearer …``, passwords in
URLs, private keys), and, for what has no shape, secrets that were told to :func:`register`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from service.access.tokens import MARK

HIDDEN = "***"

_NAMES = re.compile(
    r"(^|[_-])(token|secret|password|passwd|authorization|cookie|credential|private[_-]?key|api[_-]?key)s?$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)")
_SHAPES = re.compile(
    rf"{MARK}[A-Za-z0-9_-]{{8,}}"
    r"|(?<=bearer )[^\s\"',;]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.IGNORECASE | re.DOTALL,
)
_MAX_DEPTH = 8

#: Secrets of this process that have no shape of their own.
_known: set[str] = set()


def register(secret: str) -> None:
    """Mask ``secret`` wherever it turns up from now on."""
    _known.add(secret)


def mask_url(text: str) -> str:
    """``text`` with the passwords of its URLs masked."""
    return _URL_PASSWORD.sub(rf"\1:{HIDDEN}", text) if "://" in text else text


def mask_text(text: str) -> str:
    """``text`` without anything that looks like a secret, or is one that we know."""
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    return _SHAPES.sub(HIDDEN, mask_url(text))


def mask(value: Any, depth: int = 0) -> Any:
    """The same value with secrets masked, in mappings and lists too; what is nested very deep is left out."""
    if isinstance(value, str):
        return mask_text(value)
    if depth >= _MAX_DEPTH:
        return "…" if isinstance(value, (Mapping, list, tuple, set, frozenset)) else value
    if isinstance(value, Mapping):
        return {key: mask_named(str(key), inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [mask(inner, depth + 1) for inner in value]
    return value


def mask_named(name: str, value: Any, depth: int = 0) -> Any:
    """A value whose name may tell that it is a secret."""
    if value is not None and _NAMES.search(name):
        return HIDDEN
    return mask(value, depth)
