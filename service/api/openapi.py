"""The OpenAPI document: FastAPI's own, with our problems in place of its errors and the bearer token declared."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service import __version__
from service.access.scopes import Scope
from service.api.problems import Problem
from service.api.scopes import OPEN_OPERATIONS, scope_of

DESCRIPTION = """\
Regulus keeps ML model servers inside their latency objectives by reconfiguring them while they serve.

Times are Unix seconds, durations seconds, unless a name says otherwise. Every error is an RFC 9457 problem
(`application/problem+json`). Every answer carries `X-Request-ID`, which finds the request in the service's log.
A service that was given tokens wants `Authorization: Bearer TOKEN` everywhere but at `/healthz` and `/readyz`: 401
without a valid one, 403 when its scope (`read` < `operate` < `admin`) does not allow the operation. One without tokens
listens on loopback only. Whoever asks too often is answered 429, with `Retry-After`.
"""

TAGS = [
    {"name": "models", "description": "What is steered, its objective and its mode."},
    {"name": "configurations", "description": "What is in force, what would be better, and a person's own choice."},
    {"name": "history", "description": "What was decided and what was measured."},
    {"name": "audit", "description": "Who changed what, and who was refused."},
    {"name": "service", "description": "The service itself."},
]


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``app``; made once, then kept."""
    if app.openapi_schema is None:
        made = get_openapi(title="Regulus", version=__version__, description=DESCRIPTION, routes=app.routes, tags=TAGS)
        _declare_problems(made)
        _declare_token(made)
        app.openapi_schema = made
    return app.openapi_schema


def _declare_problems(made: dict[str, Any]) -> None:
    """Add the problem's schema, and drop FastAPI's own validation error, which is never sent."""
    _, definitions = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = made["components"]["schemas"]
    schemas.update(definitions["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in operations(made):
        answer = operation["responses"].get("422")
        if answer and "application/json" in answer["content"]:
            # The only parameter is the model's name, of which nothing but its existence is checked.
            del operation["responses"]["422"]


def _declare_token(made: dict[str, Any]) -> None:
    """Say which scope each operation needs; as OpenAPI 3.1 has it, a bearer scheme's requirement lists role names."""
    scopes = ", ".join(f"`{scope.value}`" for scope in Scope)
    made["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": f"Needed where the service was given tokens. Scopes, each including those before: {scopes}.",
        }
    }
    for operation in operations(made):
        name = operation["operationId"]
        # The empty requirement: without tokens the service listens on loopback, and asks for none.
        operation["security"] = [] if name in OPEN_OPERATIONS else [{"token": [scope_of(name).value]}, {}]


def operations(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation of a document, in its order."""
    return [operation for item in made["paths"].values() for operation in item.values()]
