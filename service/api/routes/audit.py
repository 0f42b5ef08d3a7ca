"""Audit: who changed what, and who was refused."""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.dependencies import Limit, TheService
from service.api.problems import INVALID, responses

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_ENTRY: dict[str, Any] = {
    "at": "2026-01-01T00:00:05.000Z",
    "caller": "ci",
    "scope": "operate",
    "address": "10.0.0.7",
    "operation": "putMode",
    "method": "PUT",
    "path": "/v1/models/mobilenet_v2/mode",
    "outcome": "done",
    "status": 200,
    "request_id": "3f1c0a52a9c44f8f8f0d5f0a4f3f1a77",
    "body": {"mode": "auto"},
    "detail": None,
    "left_out_before": 0,
}


class AuditEntry(BaseModel):
    """Something that somebody did or tried."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENTRY]})

    at: str = Field(description="When it had ended; RFC 3339, UTC.")
    caller: str = Field(description="Name of the token; empty where there was none that is known.")
    scope: str = Field(description="Of the token; empty where there was none.")
    address: str = Field(description="Other end of the connection; a proxy's own where one stands between.")
    operation: str = Field(description="What this document calls it; empty for what it does not know.")
    method: str = Field(description="HTTP method.")
    path: str = Field(description="Path, without the query.")
    outcome: str = Field(description="`done`, `failed` or, when it was not let in, `refused`.")
    status: int | None = Field(description="HTTP status of the answer; null when there was none.")
    request_id: str = Field(description="Finds the request in the service's log.")
    body: Any = Field(default=None, description="What was asked for, where it was JSON of at most 4096 bytes.")
    detail: str | None = Field(default=None, description="Why it was refused.")
    left_out_before: int = Field(
        default=0, description="Refused attempts before this one that were only counted, in a flood of them."
    )


class AuditAnswer(BaseModel):
    """The newest entries."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_ENTRY]}]})

    items: list[AuditEntry] = Field(description="Newest first.")


@router.get("", operation_id="listAudit", responses=responses(INVALID))
async def list_audit(service: TheService, limit: Limit = 50) -> AuditAnswer:
    """Every change and every refused attempt, newest first; the newest thousand. More is in the file or the log."""
    items = []
    for entry in service.audit.recent(limit):
        # The file may hold lines of another version, or of another hand.
        with contextlib.suppress(ValidationError):
            items.append(AuditEntry.model_validate(entry))
    return AuditAnswer(items=items)
