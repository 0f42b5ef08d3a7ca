"""Problems: every answer of the agent other than 200, as problem+json (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


class ProblemError(Exception):
    """An answer other than 200.

    Args:
        status: HTTP status.
        title: What kind of problem, always the same for one kind.
        detail: What happened this time.
        more: Further members of the document.
    """

    def __init__(self, status: int, title: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


def invalid(field: str, message: str) -> ProblemError:
    """422, naming the field."""
    errors = [{"field": field, "message": message}]
    return ProblemError(422, "Invalid configuration", f"{field} {message}", errors=errors)


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """Starlette's handler for :class:`ProblemError`."""
    if not isinstance(problem, ProblemError):
        raise problem
    return respond(problem)


async def answer_refusal(_request: Request, error: Exception) -> Response:
    """Starlette's handler for what it refuses by itself: unknown paths and methods."""
    if not isinstance(error, HTTPException):
        raise error
    return respond(ProblemError(error.status_code, error.detail, error.detail), error.headers)


def respond(problem: ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells of a problem."""
    content = json.dumps(problem.document, ensure_ascii=False)
    return Response(content, problem.status, headers=headers, media_type="application/problem+json")
