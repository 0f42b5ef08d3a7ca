"""Closed loop: a fixed number of clients, each of which waits for its answer before it asks again.

It finds what a server can take (its capacity) and says nothing of the latency that users would feel under a given
load: a stalled server stalls the clients too. For that there is the open loop of :mod:`service.loadgen.runner`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.errors import InvalidValueError
from service.loadgen.histogram import Recorder
from service.loadgen.payloads import RequestSpec
from service.loadgen.prepare import prepared
from service.loadgen.target import Target, parse_target
from service.loadgen.transport import OK, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopReport:
    """What a number of clients got.

    Attributes:
        concurrency: Requests that were in flight at any time.
        duration: Seconds that were counted.
        ok: Good answers in them.
        failed: Other answers in them, by code.
        latency: Of good answers, from sending, seconds.
    """

    concurrency: int
    duration: float
    ok: int
    failed: Mapping[str, int]
    latency: Recorder

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return self.ok / self.duration


async def run_closed_loop(
    target: Target | str,
    request: RequestSpec,
    *,
    concurrency: int,
    duration: float,
    warmup: float = 0.5,
    timeout: float = 30.0,
    connections: int = 4,
    seed: int = 0,
) -> ClosedLoopReport:
    """Keep ``concurrency`` requests in flight for ``warmup`` + ``duration`` seconds; the warm-up is not counted.

    Args:
        target: The server.
        request: What to send.
        concurrency: Requests in flight, ≥ 1.
        duration: Seconds to count, above 0.
        warmup: Seconds before that.
        timeout: Deadline of each request, seconds.
        connections: gRPC connections over which the clients are spread; never more than clients.
        seed: Of the payloads.

    Raises:
        TargetError: The server, model or signature is not there, or it refuses a first request.
        InvalidValueError: A value is out of range.
    """
    if concurrency < 1:
        raise InvalidValueError("concurrency", f"must be at least 1, not {concurrency}")
    if not duration > 0:
        raise InvalidValueError("duration", f"must be above 0 s, not {duration}")
    where = parse_target(target) if isinstance(target, str) else target
    ready = prepared(
        where,
        request,
        np.random.default_rng(seed),
        timeout=timeout,
        connections=min(connections, concurrency),
        max_inflight=concurrency,
    )
    async with ready as (transport, pool):
        clients = _Clients(transport, pool)
        await clients.run(concurrency, warmup, duration)
    return ClosedLoopReport(
        concurrency=concurrency,
        duration=duration,
        ok=clients.ok,
        failed=dict(clients.failed),
        latency=clients.latency,
    )


class _Clients:
    """The state of a run; ``run`` is called once."""

    def __init__(self, transport: Transport, pool: Sequence[bytes]) -> None:
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.latency = Recorder()
        self._transport = transport
        self._pool = pool
        self._next = 0

    async def run(self, concurrency: int, warmup: float, duration: float) -> None:
        """Start the clients and wait until the last has its answer."""
        self._loop = asyncio.get_running_loop()
        self._count_from = time.monotonic() + warmup
        self._count_to = self._count_from + duration
        self._active = concurrency
        self._all_done = self._loop.create_future()
        for _ in range(concurrency):
            self._ask()
        try:
            await self._all_done
        finally:
            # Interrupted: nobody asks again.
            self._count_to = self._count_from

    def _ask(self) -> None:
        """One client's next request; it goes home when time is up."""
        sent_at = time.monotonic()
        if sent_at >= self._count_to:
            self._active -= 1
            if self._active == 0 and not self._all_done.done():
                self._all_done.set_result(None)
            return
        self._next += 1

        def answered(code: str, message: str) -> None:
            del message
            self._note(code, sent_at)
            # Not from within the callback: a transport that fails at once would recurse.
            self._loop.call_soon(self._ask)

        self._transport.send(self._pool[self._next % len(self._pool)], answered)

    def _note(self, code: str, sent_at: float) -> None:
        now = time.monotonic()
        if not self._count_from <= now < self._count_to:
            return
        if code == OK:
            self.ok += 1
            self.latency.record(now - sent_at)
        else:
            self.failed[code] += 1
