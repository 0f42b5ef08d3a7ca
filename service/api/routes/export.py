"""Export: the whole history as one stream, for a backup or another database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from service.api import examples
from service.api.dependencies import TheStore
from service.api.problems import HISTORY_UNAVAILABLE, INVALID, responses

router = APIRouter(prefix="/v1/history", tags=["history"])

MEDIA_TYPE = "application/jsonl"

#: Lines sent at once; each is some kilobytes.
LINES_IN_CHUNK = 20

OneModel = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="Only this model; left out: all.", examples=[examples.MODEL]),
]


@router.get(
    "",
    operation_id="exportHistory",
    response_class=StreamingResponse,
    responses={
        **responses(INVALID, HISTORY_UNAVAILABLE),
        200: {
            "description": "JSON Lines, as `regulus history import` reads them: a header, a line for each state, "
            "observation and decision, and an end that says how many lines there were. Without it the file is cut off.",
            "content": {
                MEDIA_TYPE: {"schema": {"type": "string"}, "example": '{"regulus_history":1,"format":1}\n'},
            },
        },
    },
)
async def export_history(store: TheStore, model: OneModel = None) -> StreamingResponse:
    """States, observations and decisions, oldest first. What is added meanwhile is left out."""
    chunks = _chunks(store.export(model))
    # The first lines are read before the answer begins: a history that cannot be read is still told as a problem.
    first = await asyncio.to_thread(next, chunks)
    return StreamingResponse(chain([first], chunks), media_type=MEDIA_TYPE)


def _chunks(lines: Iterator[str]) -> Iterator[str]:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) >= LINES_IN_CHUNK:
            yield "".join(chunk)
            chunk = []
    yield "".join(chunk)
