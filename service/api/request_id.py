"""The request id: one short name a request, in its answer, in its problem and in every log line it causes."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-ID"

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_current: ContextVar[str] = ContextVar("regulus_request_id", default="")


def current_request_id() -> str:
    """The id of the request being answered; empty outside one."""
    return _current.get()


def begin(given: str | None) -> str:
    """Take the caller's id when it is harmless, else make one; it holds for the present task."""
    value = given if given and _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
    _current.set(value)
    return value
