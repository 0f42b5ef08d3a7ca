"""RestTransport: TensorFlow Serving's REST API."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from service.domain.errors import InvalidValueError
from service.loadgen.http1 import HttpResponse
from service.loadgen.http_pool import Failure, HttpPool
from service.loadgen.payloads import Encoding
from service.loadgen.signatures import ModelSignature, from_json
from service.loadgen.target import Target, TargetError
from service.loadgen.transport import OK, Done

#: A server's message is cut here in reports.
MAX_MESSAGE_CHARS = 300


class RestTransport:
    """``POST /v1/models/NAME:predict``.

    Args:
        target: The server.
        timeout: Seconds a request may take, connecting included.
        max_inflight: Most requests in flight, each on a connection of its own.
        connections: Connections to warm at the start.

    Raises:
        InvalidValueError: The operating system allows this process too few connections.
    """

    def __init__(self, target: Target, timeout: float, max_inflight: int, connections: int) -> None:
        self._target = target
        self._timeout = timeout
        self._connections = connections
        self._pool = HttpPool(target.host, target.port, timeout, max_inflight)

    @property
    def connections(self) -> int:
        """Connections to warm at the start."""
        return self._connections

    def encoding(self, wanted: Encoding | None) -> Encoding:
        """``row`` unless ``columnar`` is wanted."""
        encoding = wanted or Encoding.ROW
        if encoding not in (Encoding.ROW, Encoding.COLUMNAR):
            raise InvalidValueError("payload", f"over REST is row or columnar, not {encoding}")
        return encoding

    async def signature(self, model: str, name: str) -> ModelSignature:
        """By ``GET /v1/models/NAME/metadata``."""
        answer: asyncio.Future[HttpResponse | Failure] = asyncio.get_running_loop().create_future()
        request = self._head("GET", f"/v1/models/{quote(model, safe='')}/metadata") + b"\r\n"
        self._pool.exchange(request, lambda result: None if answer.done() else answer.set_result(result))
        result = await answer
        if isinstance(result, Failure):
            raise TargetError(f"no REST server answers at {self._target}: {result.message}")
        if result.status == 404:
            raise TargetError(f"{self._target} does not serve model {model!r}: {_error(result)}")
        if result.status != 200:
            raise TargetError(
                f"{self._target} does not tell what model {model!r} wants: HTTP {result.status}: {_error(result)}"
            )
        try:
            document: Any = json.loads(result.body)
        except ValueError as error:
            raise TargetError(f"{self._target} answers with what is no JSON: {error}") from error
        return from_json(document, model, name)

    def _head(self, method: str, path: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: {self._target.address}\r\n".encode()

    def frame(self, model: str, body: bytes) -> bytes:
        """The whole HTTP request."""
        head = self._head("POST", f"/v1/models/{quote(model, safe='')}:predict")
        return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def send(self, framed: bytes, done: Done) -> None:
        """On an idle connection, else on a new one."""
        self._pool.exchange(framed, lambda result: done(*_outcome(result)))

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


def _outcome(result: HttpResponse | Failure) -> tuple[str, str]:
    if isinstance(result, Failure):
        return result.code, result.message
    return (OK, "") if result.status == 200 else (f"HTTP_{result.status}", _error(result))


def _error(response: HttpResponse) -> str:
    """The server's own words: ``{"error": message}``, or the start of whatever it sent."""
    try:
        message = str(json.loads(response.body)["error"])
    except (ValueError, KeyError, TypeError):
        message = response.body.decode(errors="replace")
    return message[:MAX_MESSAGE_CHARS]
