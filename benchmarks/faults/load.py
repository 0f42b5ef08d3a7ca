"""Load: random requests over gRPC and REST at a bounded rate, whatever the server does, every one accounted for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np

from benchmarks.open_loop import OpenLoop, Requests
from benchmarks.switches import together
from service.loadgen.payloads import RequestSpec
from service.loadgen.prepare import prepared
from service.loadgen.target import parse_target
from service.loadgen.transport import Transport

#: How long a client waits for an answer, seconds.
TIMEOUT_SECONDS = 25.0
_MAX_IN_FLIGHT = 2048
_NONE = Requests(np.array([]), np.array([]), np.array([]), ())


class Load:
    """Requests to one server; more than one run after the other.

    Args:
        doors: Transport, requests and rate (a second) of each way in.
        rng: Draws the gaps.
    """

    def __init__(self, doors: Sequence[tuple[Transport, list[bytes], float]], rng: np.random.Generator) -> None:
        self._doors = doors
        self._rng = rng
        self._loops: list[OpenLoop] = []
        self._past: list[Requests] = []

    def start(self, factor: float = 1.0) -> None:
        """Begin to send, at so many times the usual rate; 0 sends nothing."""
        if factor > 0:
            self._loops = [OpenLoop(transport, pool, rate * factor, self._rng) for transport, pool, rate in self._doors]
        for loop in self._loops:
            loop.start()

    async def change(self, factor: float) -> None:
        """Go on at another rate, once what is in flight has been answered."""
        await self._end()
        self.start(factor)

    async def finish(self) -> Requests:
        """Send no more, wait for the answers; what became of all requests since the last such call."""
        await self._end()
        past, self._past = self._past, []
        return together(past) if past else _NONE

    async def _end(self) -> None:
        loops, self._loops = self._loops, []
        self._past += [await loop.finish() for loop in loops]


@asynccontextmanager
async def load_for(model: str, rates: Mapping[str, float], rng: np.random.Generator) -> AsyncIterator[Load]:
    """Connections to a server that answers; they end with the block.

    Args:
        model: The model.
        rates: Requests a second, by target.
        rng: Draws payloads and gaps.
    """
    async with AsyncExitStack() as stack:
        doors = []
        for target, rate in rates.items():
            transport, pool = await stack.enter_async_context(
                prepared(
                    parse_target(target),
                    RequestSpec(model=model),
                    rng,
                    timeout=TIMEOUT_SECONDS,
                    connections=2,
                    max_inflight=_MAX_IN_FLIGHT,
                )
            )
            doors.append((transport, pool, rate))
        yield Load(doors, rng)
