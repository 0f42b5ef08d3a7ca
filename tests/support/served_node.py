"""A simulated node behind a real socket, in a thread of its own: for processes, and tests that are no coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from service.domain.clock import SystemClock
from service.domain.serving_config import ServingConfig
from tests.support.agents import SimulatedNode, serving

#: Median latencies, seconds: the default configuration misses an objective of 50 ms by far, any batching meets it.
SLOW_SECONDS, FAST_SECONDS = 0.080, 0.010

START_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """A node and where it answers."""

    node: SimulatedNode
    url: str

    @property
    def metrics_url(self) -> str:
        return f"{self.url}/metrics"


def latency(config: ServingConfig, rate: float) -> float:
    """Batching is what helps."""
    return FAST_SECONDS if config.enable_batching else SLOW_SECONDS


@contextlib.contextmanager
def served_node(name: str = "mnist", rate: float = 2000.0) -> Iterator[Served]:
    """A node that answers until the block ends; 2000 requests a second make a window of a fraction of a second."""
    node = SimulatedNode(SystemClock(), latency, name=name, rate=rate)
    urls: list[str] = []
    begun, loop = threading.Event(), asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with serving(node) as url:
            urls.append(url)
            begun.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert begun.wait(START_TIMEOUT_SECONDS), "the simulated node did not start"
        yield Served(node, urls[0])
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(START_TIMEOUT_SECONDS)
        loop.close()
