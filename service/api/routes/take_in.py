"""Import: the history of another database, or a backup, as one stream into this one.

What comes is put into a temporary file first, whole, so that a sender who is slow never holds up the loops: only the
import itself keeps them from writing.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict
from typing import IO

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from service.api import problems
from service.api.dependencies import Running, TheService
from service.api.problems import HISTORY_UNAVAILABLE, responses
from service.api.routes.export import MEDIA_TYPE
from service.api.settings import ServerSettings
from service.domain.errors import StoreError
from service.store.importing import TakenIn

router = APIRouter(prefix="/v1/history", tags=["history"])

#: Both names that lines of JSON go by. A browser asks before it sends either from another page.
MEDIA_TYPES = (MEDIA_TYPE, "application/x-ndjson")

#: Whoever sends less in a second, on average, is not waited for.
SLOWEST_BYTES_PER_SECOND = 10_000

_EXAMPLE = '{"regulus_history":1,"format":1}\n{"kind":"end","lines":0}\n'


class TakenInOut(BaseModel):
    """What an import did."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"observations": 1200, "decisions": 80, "states": 1, "known": 0}]}
    )

    observations: int = Field(description="How many were added.")
    decisions: int = Field(description="How many were added.")
    states: int = Field(description="Of how many models objective, mode and incumbent were taken over.")
    known: int = Field(description="How many lines said what was there already.")


class _RefusedError(Exception):
    """The body is not taken; says as which kind of problem, and why."""

    def __init__(self, kind: problems.Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@router.post(
    "",
    operation_id="importHistory",
    response_model=TakenInOut,
    responses=responses(*problems.BODY, HISTORY_UNAVAILABLE),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "JSON Lines, as the export gives them.",
            "content": {media: {"schema": {"type": "string"}, "example": _EXAMPLE} for media in MEDIA_TYPES},
        }
    },
)
async def import_history(request: Request, service: TheService) -> TakenInOut | JSONResponse:
    """Take in what an export gave: all of it or, where a line cannot be used, nothing.

    Importing again changes nothing, and an import only appends. Loops change nothing until it is through, and learn
    from it at the next start.
    """
    try:
        if service.importing.locked():
            raise _RefusedError(problems.OVERLOADED, "another import is in progress; try again when it is through")
        async with service.importing:
            taken = await _through_a_file(request, service)
    except _RefusedError as refusal:
        # What has not been read of the body is not waited for.
        headers = {"Connection": "close"}
        return problems.problem_response(refusal.kind, refusal.detail, request.url.path, headers=headers)
    return TakenInOut(**asdict(taken))


async def _through_a_file(request: Request, service: Running) -> TakenIn:
    try:
        with tempfile.TemporaryFile() as lines:
            await _receive(request, lines, service.server)
            return await asyncio.to_thread(service.store.take_in, lines)
    except OSError as error:  # also of the file's end, which writes what is left
        raise StoreError(f"an import is put into a temporary file first, and that failed: {error.strerror}") from error


async def _receive(request: Request, lines: IO[bytes], limits: ServerSettings) -> None:
    """Put the body into a file, and go back to its beginning.

    Raises:
        _RefusedError: It is of another kind, too large or too slow, or it broke off.
        OSError: There is no room for it.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise _RefusedError(
            problems.NOT_JSON, f"Content-Type must be {' or '.join(MEDIA_TYPES)}, not {kind or 'missing'!r}"
        )
    announced = request.headers.get("content-length", "0")
    received = int(announced) if announced.isdecimal() else 0
    clock = asyncio.get_running_loop()
    began, chunks = clock.time(), request.stream()
    try:
        while received <= limits.max_import_bytes:
            received = lines.tell()
            latest = began + limits.body_timeout_seconds + received / SLOWEST_BYTES_PER_SECOND
            async with asyncio.timeout_at(min(clock.time() + limits.body_timeout_seconds, latest)):
                chunk = await anext(chunks, None)
            if chunk is None:
                lines.seek(0)
                return
            await asyncio.to_thread(lines.write, chunk)
            received = lines.tell()
    except TimeoutError:
        detail = f"after {received} bytes no more came in time; use `regulus history import` beside the database"
        raise _RefusedError(problems.BODY_TIMEOUT, detail) from None
    except ClientDisconnect:
        raise _RefusedError(problems.MALFORMED, "the body broke off") from None
    raise _RefusedError(
        problems.BODY_TOO_LARGE,
        f"a history may have at most {limits.max_import_bytes} bytes (server.max_import_bytes); use `regulus history "
        "import` beside the database",
    )
