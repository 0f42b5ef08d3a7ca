"""The service itself: whether it lives, whether it can work, what it says of itself to Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from service import __version__
from service.api.dependencies import TheService, TheSupervisor
from service.api.problems import NOT_READY, NotReadyError, responses
from service.api.schemas import HealthOut, ReadyOut

router = APIRouter(tags=["service"])


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
