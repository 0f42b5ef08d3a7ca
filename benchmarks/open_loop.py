"""OpenLoop: random load that keeps a record of every request, for as long as somebody else takes.

As :mod:`service.loadgen.runner`, whose parts it is made of, it sends when a request is due whatever the server does,
and latency counts from then. That one sums up a plan of known length; here the end is not known beforehand, and what
happened to the requests round a certain moment has to be found again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.loadgen.pacer import make_pacer
from service.loadgen.stats import NOT_SENT
from service.loadgen.transport import OK, Transport

#: Requests without an answer at once; one that is due beyond them is not sent, and has failed.
MAX_IN_FLIGHT = 4096
_SENDS_PER_TURN = 32
_DRAIN_SECONDS = 30.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Requests:
    """What happened to each request; arrays of shape (requests,), ordered by intended time.

    Attributes:
        intended: When it was due, ``time.monotonic()`` seconds.
        sent: When it was sent; NaN when it was not.
        answered: When its answer came, good or bad; NaN when none came.
        outcome: ``OK`` or a code.
    """

    intended: Floats
    sent: Floats
    answered: Floats
    outcome: Sequence[str]

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which were answered well."""
        return np.array([outcome == OK for outcome in self.outcome], dtype=np.bool_)

    @property
    def latency(self) -> Floats:
        """From the intended time, seconds."""
        return self.answered - self.intended


class OpenLoop:
    """Sends from :meth:`start` to :meth:`finish`.

    Args:
        transport: To the server.
        pool: Framed requests, sent in turn.
        rate: Mean rate, requests a second.
        rng: Draws the gaps.
        cv: Coefficient of variation of the gaps, which are Gamma distributed; 1 makes a Poisson process.
    """

    def __init__(
        self, transport: Transport, pool: Sequence[bytes], rate: float, rng: np.random.Generator, *, cv: float = 1.0
    ) -> None:
        self._transport = transport
        self._pool = pool
        self._shape = 1 / cv**2
        self._scale = cv**2 / rate
        self._rng = rng
        self._intended: list[float] = []
        self._sent: list[float] = []
        self._answered: list[float] = []
        self._outcome: list[str] = []
        self._in_flight = 0
        self._due = 0.0
        self._stopping = False
        self._drained = asyncio.Event()

    def start(self) -> None:
        """Begin; in the running event loop."""
        self._due = time.monotonic()
        self._pacer = make_pacer(self._turn)
        self._turn()

    def stop(self) -> None:
        """Send no more. Idempotent."""
        self._stopping = True
        self._pacer.close()

    async def finish(self) -> Requests:
        """Send no more, and wait for the answers."""
        self.stop()
        if self._in_flight:
            await asyncio.wait_for(self._drained.wait(), _DRAIN_SECONDS)
        columns = [np.array(column) for column in (self._intended, self._sent, self._answered)]
        return Requests(columns[0], columns[1], columns[2], tuple(self._outcome))

    def _turn(self) -> None:
        for _ in range(_SENDS_PER_TURN):
            now = time.monotonic()
            if self._due > now:
                break
            self._send(now)
            self._due += float(self._rng.gamma(self._shape, self._scale))
        self._pacer.arm(self._due)

    def _send(self, now: float) -> None:
        index = len(self._intended)
        self._intended.append(self._due)
        self._answered.append(np.nan)
        if self._in_flight >= MAX_IN_FLIGHT:
            self._sent.append(np.nan)
            self._outcome.append(NOT_SENT)
            return
        self._sent.append(now)
        self._outcome.append("")
        self._in_flight += 1
        self._transport.send(self._pool[index % len(self._pool)], partial(self._note, index))

    def _note(self, index: int, code: str, message: str) -> None:
        del message
        self._answered[index] = time.monotonic()
        self._outcome[index] = code
        self._in_flight -= 1
        if self._stopping and self._in_flight == 0:
            self._drained.set()
