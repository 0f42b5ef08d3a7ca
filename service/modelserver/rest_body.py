"""Request bodies: gathered up to a limit, and unpacked if they came as gzip, which TensorFlow Serving takes too."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from service.modelserver.status import Code, ServingError

#: Largest body that is read, in bytes, packed and unpacked; far more than one request should hold.
MAX_BODY_BYTES = 256 << 20

_GZIP = 16 + zlib.MAX_WBITS


class BodyTooLargeError(Exception):
    """A request body exceeds the limit.

    Args:
        limit: The limit, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than the limit of {limit} bytes")


async def read_body(
    headers: Iterable[tuple[bytes, bytes]],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    limit: int,
) -> bytes:
    """The body of an ASGI request.

    Args:
        headers: Names in lower case.
        receive: ASGI's.
        limit: Most bytes to take, before and after decompression.

    Raises:
        BodyTooLargeError: There are more.
        ServingError: INVALID_ARGUMENT: it claims to be gzip and is not, or has another encoding.
        ConnectionError: The client hung up.
    """
    packed = False
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise BodyTooLargeError(limit)
        if name == b"content-encoding" and value.lower() != b"identity":
            if value.lower() not in (b"gzip", b"x-gzip"):
                shown = value.decode("latin-1")
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"Content-Encoding {shown} is not supported; send gzip or plain JSON"
                )
            packed = True
    body = await _gather(receive, limit)
    return _unpack(body, limit) if packed else body


async def _gather(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client hung up before its request was complete")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunk if len(chunks) == 1 else b"".join(chunks)


def _unpack(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        data = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"The body is not gzip, although its header says so: {error}"
        ) from None
    if len(data) > limit:
        raise BodyTooLargeError(limit)
    if not unpacker.eof:
        raise ServingError(Code.INVALID_ARGUMENT, "The body ends in the middle of its gzip data")
    return data
