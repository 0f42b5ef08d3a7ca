"""Transport: how requests reach the server; implemented for gRPC and REST.

A transport sends at once and never repeats a request: what happens to the first attempt is what a run counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from service.loadgen.payloads import Encoding
from service.loadgen.signatures import ModelSignature
from service.loadgen.target import TargetError

#: Outcomes that are the same for all transports. Other failures carry the server's code (``INTERNAL``, ``HTTP_503``).
OK: Final = "OK"
TIMED_OUT: Final = "DEADLINE_EXCEEDED"
NO_CONNECTION: Final = "UNAVAILABLE"

#: Refusals that only mean "too busy now".
BUSY: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "HTTP_429", "HTTP_503"})

#: Called once for each request with its outcome and, for a failure, the server's message.
Done = Callable[[str, str], None]


class Transport(Protocol):
    """Connections to one server. For use in one event loop."""

    @property
    def connections(self) -> int:
        """Connections that :func:`probe` warms."""
        ...

    def encoding(self, wanted: Encoding | None) -> Encoding:
        """The encoding to use; the protocol's usual one when None is wanted.

        Raises:
            InvalidValueError: The encoding belongs to another protocol.
        """
        ...

    async def signature(self, model: str, name: str) -> ModelSignature:
        """Ask the server what the model wants.

        Raises:
            TargetError: No server, model or signature of that name answers in time.
        """
        ...

    def frame(self, model: str, body: bytes) -> bytes:
        """What :meth:`send` wants for a request body; made once, used often."""
        ...

    def send(self, framed: bytes, done: Done) -> None:
        """Send one Predict request now; ``done`` is called once, after this returns and within the time-out."""
        ...

    async def close(self) -> None:
        """Give up what is in flight and release the connections. Idempotent."""
        ...


async def probe(transport: Transport, framed: bytes, target: str) -> None:
    """Send one request on each connection before a run: mistakes show at once, and connections are warm.

    Refusals that only mean "busy" pass: a run against an overloaded server is a legitimate one.

    Raises:
        TargetError: The server refuses the request, or does not answer.
    """
    loop = asyncio.get_running_loop()
    outcomes: list[asyncio.Future[tuple[str, str]]] = []
    for _ in range(transport.connections):
        outcome: asyncio.Future[tuple[str, str]] = loop.create_future()
        outcomes.append(outcome)
        transport.send(framed, partial(_settle, outcome))
    for code, message in await asyncio.gather(*outcomes):
        if code != OK and code not in BUSY:
            raise TargetError(f"{target} refuses a first request: {code}: {message}")


def _settle(outcome: asyncio.Future[tuple[str, str]], code: str, message: str) -> None:
    if not outcome.done():  # Cancelled, when somebody stopped waiting.
        outcome.set_result((code, message))
