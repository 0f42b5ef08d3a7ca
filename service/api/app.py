"""The application: routes, middleware and errors put together, and the life of what they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.middleware import Middleware

from service import __version__
from service.api import openapi, problems
from service.api.auth import Gate
from service.api.dependencies import Running
from service.api.middleware import Admission, BodyLimit, RequestContext
from service.api.routes import configurations, history, models
from service.api.routes import service as service_routes
from service.api.settings import Settings
from service.control.supervisor import Supervisor
from service.store import Store
from service.telemetry.own_metrics import ControlMetrics

_log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The API, ready to be served; its lifespan opens the history and runs the loops.

    Args:
        settings: All settings; nothing is read from elsewhere.

    Raises:
        InvalidValueError: The file that holds the token cannot be used.
    """
    server = settings.server

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings) as running:
            app.state.running = running
            yield

    app = FastAPI(
        title="Regulus",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestContext),
            Middleware(Admission, gate=Gate(server.token()), max_concurrent=server.max_concurrent_requests),
            Middleware(BodyLimit, max_bytes=server.max_body_bytes, timeout_seconds=server.body_timeout_seconds),
        ],
    )
    app.state.running = None
    problems.install(app)
    for router in (models.router, configurations.router, history.router, service_routes.router):
        app.include_router(router)
    # FastAPI's documented way to replace the document is to replace the method.
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]  # as FastAPI documents it
    return app


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Running]:
    """Open the history and run the loops until the block ends.

    Raises:
        StoreError: The history cannot be opened.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    store = await asyncio.to_thread(Store.open, settings.store.url)
    try:
        supervisor = Supervisor(
            settings.models, settings.loop, store, metrics=ControlMetrics(registry, version=__version__)
        )
        try:
            await supervisor.start()
            _log.info("started", models=supervisor.names(), version=__version__)
            yield Running(supervisor, store, registry)
        finally:
            await supervisor.stop()
    finally:
        await asyncio.to_thread(store.close)
        _log.info("stopped")
