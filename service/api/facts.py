"""Facts: what the layers of middleware find out about one request, for the log, the metrics and the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.types import Scope as RequestScope

from service.api.auth import Caller, Refusal
from service.api.directory import Operation

_KEY = "regulus.facts"


@dataclass(slots=True)
class Facts:
    """What is known of a request so far.

    Attributes:
        request_id: Its name.
        method: HTTP method.
        path: Without the query.
        address: Other end of the connection; empty where there is none.
        operation: What it asks for.
        caller: Who asks; None until that is known.
        refusal: Why it was not let in; None when it was.
        body: What was sent, once it is there.
    """

    request_id: str
    method: str
    path: str
    address: str
    operation: Operation
    caller: Caller | None = None
    refusal: Refusal | None = None
    body: bytes = b""


def attach(scope: RequestScope, facts: Facts) -> None:
    """Give a request its facts."""
    scope[_KEY] = facts


def of(scope: RequestScope) -> Facts:
    """The facts of a request that :class:`service.api.middleware.RequestContext` has begun."""
    return cast(Facts, scope[_KEY])
