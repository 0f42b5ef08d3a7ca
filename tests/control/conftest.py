"""A world for every test of the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from service.store import Store
from tests.support.control_world import World
from tests.support.fake_clock import FakeClock


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = FakeClock()
    store = Store.open("sqlite://", clock=clock)
    a_world = World(clock, store)
    try:
        yield a_world
    finally:
        await a_world.stop()
        store.close()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """What was logged; kept from the terminal, where tracebacks with their locals take seconds to draw."""
    with capture_logs() as captured:
        yield captured
