"""The application: routes, middleware and errors put together, and the life of what they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from functools import cache
from typing import Any

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.middleware import Middleware

from service import __version__
from service.access.audit import AuditLog
from service.access.limiter import RateLimiter
from service.access.tls import CertificateWatch
from service.api import nodes, openapi, problems
from service.api.accounting import Accounting
from service.api.auth import Gate
from service.api.dependencies import Running
from service.api.directory import Directory
from service.api.middleware import Admission, BodyLimit, RequestContext
from service.api.routes import audit as audit_routes
from service.api.routes import configurations, export, history, models, take_in
from service.api.routes import service as service_routes
from service.api.settings import Settings
from service.control.supervisor import Supervisor
from service.domain.clock import SystemClock
from service.store import Store
from service.telemetry.http_metrics import HttpMetrics
from service.telemetry.own_metrics import ControlMetrics

_log = structlog.get_logger(__name__)
_audit = structlog.get_logger("regulus.audit")


class _Application(FastAPI):
    """FastAPI with an OpenAPI document of our own."""

    def openapi(self) -> dict[str, Any]:
        """The document; see :mod:`service.api.openapi`."""
        return openapi.document(self)


def create_app(settings: Settings) -> FastAPI:
    """The API, ready to be served; its lifespan opens the history and runs the loops.

    Args:
        settings: All settings; nothing is read from elsewhere.

    Raises:
        InvalidValueError: A file of tokens cannot be used.
    """
    server = settings.server
    clock = SystemClock()
    registry = CollectorRegistry()
    audit = AuditLog(settings.audit.file, _to_log, clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with closing(audit):
            async with _running(settings, registry, audit) as running:
                app.state.running = running
                yield

    @cache
    def directory() -> Directory:
        return Directory(openapi.document(app))

    app = _Application(
        title="Regulus",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestContext, directory=directory, accounting=Accounting(HttpMetrics(registry), audit)),
            Middleware(
                Admission,
                gate=Gate(server.tokens(), clock),
                limiter=RateLimiter(server.requests_per_second, server.request_burst, clock),
                max_concurrent=server.max_concurrent_requests,
                max_header_bytes=server.max_header_bytes,
            ),
            Middleware(BodyLimit, max_bytes=server.max_body_bytes, timeout_seconds=server.body_timeout_seconds),
        ],
    )
    app.state.running = None
    problems.install(app)
    routes = (models, configurations, history, export, take_in, audit_routes, service_routes)
    for each in routes:
        app.include_router(each.router)
    return app


def _to_log(entry: Mapping[str, Any]) -> None:
    """An entry of the audit log as a line of the log."""
    _audit.info("audit", **{("time" if key == "at" else key): value for key, value in entry.items()})


@asynccontextmanager
async def _running(settings: Settings, registry: CollectorRegistry, audit: AuditLog) -> AsyncIterator[Running]:
    """Open the history and run the loops until the block ends.

    Raises:
        InvalidValueError: A file that agents are reached with cannot be used.
        StoreError: The history cannot be opened.
    """
    ProcessCollector(registry=registry)
    context = nodes.agent_context(settings.agents)
    store = await asyncio.to_thread(Store.open, settings.store.url)
    watch = None
    if settings.agents.client_certificate is not None:
        certificate = settings.agents.client_certificate
        renewal = CertificateWatch(context, certificate, settings.agents.client_key or certificate)
        watch = asyncio.create_task(renewal.watch(SystemClock()), name="agents' certificate")
    try:
        supervisor = Supervisor(
            settings.models,
            settings.loop,
            store,
            metrics=ControlMetrics(registry, version=__version__),
            client_factory=nodes.client_factory(
                settings.agents, [str(model.agent_url) for model in settings.models], context
            ),
        )
        try:
            await supervisor.start()
            _log.info("started", models=supervisor.names(), version=__version__)
            yield Running(supervisor, store, registry, audit, settings.server)
        finally:
            await supervisor.stop()
    finally:
        if watch is not None:
            watch.cancel()
        await asyncio.to_thread(store.close)
        _log.info("stopped")
