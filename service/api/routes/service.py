"""The service itself: whether it lives, whether it can work, what it says of itself to Prometheus."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from markdown_it import MarkdownIt
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, Response

from service import __version__
from service.api import reference
from service.api.dependencies import TheService, TheSupervisor
from service.api.problems import BODY, HISTORY_UNAVAILABLE, NOT_READY, NotReadyError, responses
from service.api.schemas import HealthOut, KillSwitchBody, ReadyOut

router = APIRouter(tags=["service"])

_STYLE = """body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: left }
pre { background: #f4f4f4; padding: .6em; overflow: auto }"""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Regulus API</title><style>{style}</style>
<h1>Regulus API</h1><p>For programs: <a href="/openapi.json">openapi.json</a></p>{content}</html>"""


@router.get("/healthz", operation_id="getHealth", responses=responses())
async def healthz() -> HealthOut:
    """Whether the process answers. Open to probes without a token."""
    return HealthOut(status="ok", version=__version__)


@router.get("/readyz", operation_id="getReadiness", responses=responses(NOT_READY))
async def readyz(supervisor: TheSupervisor) -> ReadyOut:
    """Whether every loop has read its history and asked its agent. Open to probes without a token.

    An agent that does not answer is told here but does not make the service unready: restarting would not help.
    """
    ready, lines = supervisor.ready()
    if not ready:
        raise NotReadyError("; ".join(f"{name}: {line}" for name, line in lines.items()) or "starting")
    return ReadyOut(ready=True, models=lines)


@router.get("/v1/kill-switch", operation_id="getKillSwitch", responses=responses())
async def get_kill_switch(supervisor: TheSupervisor) -> KillSwitchBody:
    """Whether the kill switch is on."""
    return KillSwitchBody(on=supervisor.killed)


@router.put("/v1/kill-switch", operation_id="putKillSwitch", responses=responses(HISTORY_UNAVAILABLE, *BODY))
async def put_kill_switch(body: KillSwitchBody, supervisor: TheSupervisor) -> KillSwitchBody:
    """Turn the kill switch: while it is on, nothing is done automatically for any model. Remembered across restarts.

    On takes effect at once, except for a change that an agent is already carrying out; where it cannot be remembered
    (the answer is an error then) it holds until the service ends. What a person commands is not stopped by it.
    """
    await supervisor.turn_kill_switch(on=body.on)
    return KillSwitchBody(on=supervisor.killed)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={
        **responses(),
        200: {
            "description": "Prometheus text.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "regulus_build_info 1.0\n"}},
        },
    },
)
async def metrics(service: TheService) -> Response:
    """What Regulus says of itself, as Prometheus text."""
    return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The API's reference as one page that needs nothing from elsewhere: no script, no network."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(reference.markdown(request.app.openapi()))
    # Links lead to schemas; Markdown itself gives headings no names.
    named = re.sub(r"<h3>(\w+)</h3>", lambda match: f'<h3 id="{match[1].lower()}">{match[1]}</h3>', html)
    return HTMLResponse(_PAGE.format(style=_STYLE, content=named))
