"""Connections: uvicorn's HTTP/1.1 protocol, which waits only so long for the head of a request.

uvicorn bounds how long a connection may idle between requests, but not how long the first request, or the rest of a
head that has begun, may take to come: a few hundred silent connections would then keep everybody else out.
"""

from __future__ import annotations

import asyncio
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def patient_protocol(seconds: float) -> type[asyncio.Protocol]:
    """A protocol that closes a connection on which no head of a request is complete after ``seconds``."""

    class PatientProtocol(H11Protocol):
        """Closes connections whose requests do not come."""

        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            """Begin to wait for the first head."""
            super().connection_made(cast("asyncio.Transport", transport))  # uvicorn asks for the kind it is given
            self._wait()

        def data_received(self, data: bytes) -> None:
            """Take what came; what has begun to come must go on."""
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._patience is None and self.conn.trailing_data[0]:
                self._wait()

        def on_response_complete(self) -> None:
            """Wait for the next request as uvicorn does, unless a part of it is here already."""
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget it."""
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._stop_waiting()
            self._patience = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    return PatientProtocol
