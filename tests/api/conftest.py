"""A running application for each test: the real supervisor, a real store in memory, a real node over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import structlog
from fastapi import FastAPI

from service.api import logs
from service.api.app import create_app
from tests.support.api_service import client_of, settings_for
from tests.support.served_node import Served, served_node


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    """Tests may configure logging; those that do not print none of the loops' lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.QUIET_LIBRARIES}
    with structlog.testing.capture_logs():
        yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, former in levels.items():
        logging.getLogger(name).setLevel(former)
    structlog.reset_defaults()


@pytest.fixture
def served() -> Iterator[Served]:
    with served_node() as made:
        yield made


@pytest.fixture
async def app(served: Served) -> AsyncIterator[FastAPI]:
    made = create_app(settings_for(served))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
