"""Problems: every error leaves the API as RFC 9457 ``application/problem+json``, by one mapping.

``PROBLEMS`` says which exception becomes which kind of problem; :func:`install` makes FastAPI use it; :func:`responses`
gives a route's documentation of the kinds it may answer with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from service.api.request_id import current_request_id
from service.domain.errors import (
    ApplyTimeoutError,
    BackendError,
    BackendUnavailableError,
    InvalidValueError,
    LeaseHeldError,
    RegulusError,
    StaleGenerationError,
    StoreError,
    TelemetryError,
    UnknownModelError,
)

MEDIA_TYPE = "application/problem+json"

_log = structlog.get_logger(__name__)


class NotFoundError(RegulusError):
    """Something other than a model does not exist; the message names it."""


class NoKnownGoodError(RegulusError):
    """There is nothing to return to."""


class NotReadyError(RegulusError):
    """The service cannot do its work yet; the message says what is missing."""


class FieldError(BaseModel):
    """One value that was refused."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"field": "slo.bound_seconds", "message": "must lie in [1e-06, 3600], not -1"}]}
    )

    field: str = Field(description="Dotted path of the value in the body, the query or the path.")
    message: str = Field(description="What is wrong with it, and what would be right.")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:regulus:problem:unknown-model",
                    "title": "Unknown model",
                    "status": 404,
                    "detail": "no model named 'mnist' is steered by this service; it steers mobilenet_v2",
                    "instance": "/v1/models/mnist",
                    "request_id": "3f1c0a52a9c44f8f8f0d5f0a4f3f1a77",
                    "models": ["mobilenet_v2"],
                }
            ]
        }
    )

    type: str = Field(description="A URN that names the kind of problem; stable, made for programs.")
    title: str = Field(description="The kind of problem in a few words; the same for every occurrence.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What happened this time and what to do about it.")
    instance: str = Field(description="Path of the request that met the problem.")
    request_id: str = Field(description="Finds the request in the service's log; also in the header X-Request-ID.")
    errors: list[FieldError] | None = Field(default=None, description="With 422: each value that was refused.")
    models: list[str] | None = Field(default=None, description="With an unknown model: the names that are known.")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        slug: Last part of the problem's type.
        status: HTTP status.
        title: The kind in a few words.
        retry_after_seconds: When trying again may help; None when it will not.
    """

    slug: str
    status: HTTPStatus
    title: str
    retry_after_seconds: int | None = None

    @property
    def type(self) -> str:
        """The URN of this kind."""
        return f"urn:regulus:problem:{self.slug}"


MALFORMED = Kind("malformed-body", HTTPStatus.BAD_REQUEST, "The body is not JSON")
UNAUTHENTICATED = Kind("unauthenticated", HTTPStatus.UNAUTHORIZED, "A valid bearer token is required")
FORBIDDEN = Kind("forbidden", HTTPStatus.FORBIDDEN, "The token does not allow this")
NOT_FOUND = Kind("not-found", HTTPStatus.NOT_FOUND, "Not found")
UNKNOWN_MODEL = Kind("unknown-model", HTTPStatus.NOT_FOUND, "Unknown model")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed")
BODY_TIMEOUT = Kind("body-timeout", HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time")
NO_KNOWN_GOOD = Kind("no-known-good", HTTPStatus.CONFLICT, "There is no known good configuration yet")
LEASE_HELD = Kind("lease-held", HTTPStatus.CONFLICT, "Another control service steers this node")
STALE = Kind("stale-generation", HTTPStatus.CONFLICT, "Somebody else changed the configuration meanwhile")
BODY_TOO_LARGE = Kind("body-too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")
NOT_JSON = Kind("unsupported-media-type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is of another media type")
WRONG_HOST = Kind("misdirected-request", HTTPStatus.MISDIRECTED_REQUEST, "The Host header names another machine")
INVALID = Kind("invalid-value", HTTPStatus.UNPROCESSABLE_ENTITY, "A value was refused")
RATE_LIMITED = Kind("rate-limited", HTTPStatus.TOO_MANY_REQUESTS, "Too many requests", 1)
HEAD_TOO_LARGE = Kind(
    "head-too-large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Path and headers are too large together"
)
INTERNAL = Kind("internal-error", HTTPStatus.INTERNAL_SERVER_ERROR, "The service met a fault of its own")
AGENT_FAILED = Kind("agent-failed", HTTPStatus.BAD_GATEWAY, "The agent failed")
AGENT_UNAVAILABLE = Kind("agent-unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "The agent did not answer", 5)
METRICS_UNAVAILABLE = Kind("metrics-unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "Metrics could not be read", 5)
HISTORY_UNAVAILABLE = Kind("history-unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "The history cannot be used", 5)
NOT_READY = Kind("not-ready", HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready", 2)
OVERLOADED = Kind("overloaded", HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once", 1)
APPLY_TIMEOUT = Kind("apply-timeout", HTTPStatus.GATEWAY_TIMEOUT, "The configuration was not ready in time")

#: Which exception is which kind of problem; the nearest class of the exception's own order decides.
PROBLEMS: dict[type[Exception], Kind] = {
    UnknownModelError: UNKNOWN_MODEL,
    NotFoundError: NOT_FOUND,
    NoKnownGoodError: NO_KNOWN_GOOD,
    NotReadyError: NOT_READY,
    InvalidValueError: INVALID,
    StaleGenerationError: STALE,
    LeaseHeldError: LEASE_HELD,
    BackendUnavailableError: AGENT_UNAVAILABLE,
    ApplyTimeoutError: APPLY_TIMEOUT,
    BackendError: AGENT_FAILED,
    TelemetryError: METRICS_UNAVAILABLE,
    StoreError: HISTORY_UNAVAILABLE,
}

_BY_STATUS = {
    HTTPStatus.NOT_FOUND: NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED,
    HTTPStatus.BAD_REQUEST: MALFORMED,
}

#: What any route under /v1 may answer with, whatever it does.
COMMON = (UNAUTHENTICATED, FORBIDDEN, WRONG_HOST, RATE_LIMITED, HEAD_TOO_LARGE, INTERNAL, OVERLOADED)
#: What a route with a body may answer with besides.
BODY = (MALFORMED, BODY_TIMEOUT, BODY_TOO_LARGE, NOT_JSON, INVALID)


def problem_response(
    kind: Kind,
    detail: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] = (),
    models: Sequence[str] | None = None,
) -> JSONResponse:
    """The answer for a problem; works outside FastAPI too, so that middleware answers in the same way."""
    problem = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status.value,
        detail=detail,
        instance=path,
        request_id=current_request_id(),
        errors=list(errors) or None,
        models=list(models) if models is not None else None,
    )
    all_headers = dict(headers or {})
    if kind.retry_after_seconds is not None:
        all_headers.setdefault("Retry-After", str(kind.retry_after_seconds))
    return JSONResponse(
        problem.model_dump(exclude_none=True), kind.status.value, headers=all_headers, media_type=MEDIA_TYPE
    )


def responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` for a route that may answer with these kinds, each with an example."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in sorted({*kinds, *COMMON}, key=lambda k: (k.status, k.slug)):
        content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}, "examples": {}}}
        entry = documented.setdefault(kind.status.value, {"description": "", "content": content})
        entry["description"] = "; ".join(filter(None, (entry["description"], kind.title)))
        entry["content"][MEDIA_TYPE]["examples"][kind.slug] = {"value": _example(kind)}
        if kind.retry_after_seconds is not None:
            entry["headers"] = {
                "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
            }
    return documented


def _example(kind: Kind) -> dict[str, Any]:
    example = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status.value,
        detail=f"{kind.title}: what exactly, and what to do.",
        instance="/v1/models/mobilenet_v2",
        request_id="3f1c0a52a9c44f8f8f0d5f0a4f3f1a77",
        errors=[FieldError(field="bound_seconds", message="must lie in [1e-06, 3600], not -1")]
        if kind is INVALID
        else None,
        models=["mobilenet_v2"] if kind is UNKNOWN_MODEL else None,
    )
    return example.model_dump(exclude_none=True)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error with a problem."""
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RegulusError, _on_regulus_error)


def kind_of(error: Exception) -> Kind:
    """The kind of problem that an exception is."""
    for cls in type(error).__mro__:
        if cls in PROBLEMS:
            return PROBLEMS[cls]
    return INTERNAL


def internal_error(error: Exception, path: str) -> JSONResponse:
    """The answer for a fault of our own: the log has the details, the client gets none."""
    _log.error("request failed", path=path, exc_info=error)
    return problem_response(INTERNAL, "The fault is in the service's log, under this request_id.", path)


async def _on_regulus_error(request: Request, error: Exception) -> JSONResponse:
    kind = kind_of(error)
    path = request.url.path
    if kind is INTERNAL:
        return internal_error(error, path)
    if isinstance(error, UnknownModelError):
        names = list(request.app.state.running.supervisor.names())
        detail = f"{error}; it steers {', '.join(names) or 'none'}"
        return problem_response(kind, detail, path, models=names)
    errors = [FieldError(field=error.field, message=error.message)] if isinstance(error, InvalidValueError) else []
    return problem_response(kind, str(error), path, errors=errors)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    path = request.url.path
    details = error.errors()
    if any(e["type"] == "json_invalid" for e in details):
        problem = details[0]
        return problem_response(MALFORMED, f"{problem['ctx']['error']} (character {problem['loc'][-1]})", path)
    content_type = request.headers.get("content-type", "")
    whole_body_refused = any(tuple(e["loc"]) == ("body",) for e in details)
    if whole_body_refused and not _is_json(content_type) and error.body:
        return problem_response(NOT_JSON, f"Content-Type is {content_type or 'missing'!r}", path)
    errors = [FieldError(field=_field(e["loc"]), message=_message(e)) for e in details]
    summary = "; ".join(f"{e.field}: {e.message}" for e in errors)
    return problem_response(INVALID, summary, path, errors=errors)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    kind = _BY_STATUS.get(HTTPStatus(error.status_code))
    path = request.url.path
    if kind is None:
        return internal_error(error, path)
    detail = f"{request.method} {path}: {error.detail}"
    return problem_response(kind, detail, path, headers=error.headers)


def _is_json(content_type: str) -> bool:
    essence = content_type.split(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def _field(location: Sequence[str | int]) -> str:
    """Dotted path as the user wrote it: without FastAPI's leading "body", "query" or "path"."""
    parts = [str(part) for part in location[1:]]
    return ".".join(parts) or str(location[0])


def _message(error: Mapping[str, Any]) -> str:
    """Pydantic's message with the value that was given, where it is short enough to show."""
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = repr(error.get("input"))
    if error["type"] in ("missing", "value_error", "extra_forbidden") or len(shown) > 60:
        return message
    return f"{message}, not {shown}"
