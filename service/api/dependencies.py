"""What routes are given: the running supervisor, the store, and the parameters that many of them share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from prometheus_client import CollectorRegistry

from service.access.audit import AuditLog
from service.api import examples
from service.api.settings import ServerSettings
from service.control.supervisor import Supervisor
from service.store import Store

#: Most entries of a page. A page of this many decisions stays below a few megabytes.
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Running:
    """What exists while the service runs.

    Attributes:
        supervisor: The loops of all models.
        store: The history.
        registry: Our own metrics.
        audit: Who changed what, and who was refused.
        server: How large and slow requests may be.
        importing: Held while a history is imported: one at a time.
    """

    supervisor: Supervisor
    store: Store
    registry: CollectorRegistry
    audit: AuditLog
    server: ServerSettings
    importing: asyncio.Lock = field(default_factory=asyncio.Lock)


def running(request: Request) -> Running:
    """What the application's lifespan has made."""
    service = request.app.state.running
    if not isinstance(service, Running):
        raise RuntimeError("the application's lifespan has not begun")
    return service


def _supervisor(request: Request) -> Supervisor:
    return running(request).supervisor


def _store(request: Request) -> Store:
    return running(request).store


TheSupervisor = Annotated[Supervisor, Depends(_supervisor)]
TheStore = Annotated[Store, Depends(_store)]
TheService = Annotated[Running, Depends(running)]

ModelName = Annotated[
    str, Path(min_length=1, max_length=200, description="Name of the model.", examples=[examples.MODEL])
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most entries in the answer.", examples=[50])]
Before = Annotated[
    int | None,
    Query(ge=1, le=2**63 - 1, description="Only entries older than this id: the ``next`` of the page before."),
]
