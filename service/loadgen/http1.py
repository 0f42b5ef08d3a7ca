"""ResponseParser: reads HTTP/1.1 answers from bytes as they come. Pure; only what a keep-alive JSON client needs."""

from __future__ import annotations

from dataclasses import dataclass

#: A head longer than this is no answer of a model server.
MAX_HEAD_BYTES = 64 * 1024


class HttpError(Exception):
    """What came is not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One answer.

    Attributes:
        status: HTTP status.
        body: As sent.
        keep_alive: Whether the connection may be used again.
    """

    status: int
    body: bytes
    keep_alive: bool


class ResponseParser:
    """One answer at a time: feed it what arrives until it returns the answer, then feed it the next one's bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[int, dict[bytes, bytes]] | None = None

    def feed(self, data: bytes) -> HttpResponse | None:
        """Add bytes; the answer once it is whole.

        Raises:
            HttpError: The bytes are not HTTP/1.1.
        """
        self._buffer += data
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise HttpError(f"no end of the headers within {MAX_HEAD_BYTES} bytes")
                return None
            self._head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        status, headers = self._head
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = self._chunked()
        elif b"content-length" in headers:
            body = self._sized(headers[b"content-length"])
        else:
            raise HttpError("the answer has neither Content-Length nor chunks")
        if body is None:
            return None
        self._head = None
        return HttpResponse(status, body, headers.get(b"connection", b"").lower() != b"close")

    def _sized(self, length: bytes) -> bytes | None:
        if not length.isdigit():
            raise HttpError(f"Content-Length is {length!r}")
        size = int(length)
        if len(self._buffer) < size:
            return None
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    def _chunked(self) -> bytes | None:
        """All chunks, once the last, empty one is there; trailers are not expected."""
        body, at = bytearray(), 0
        while (end := self._buffer.find(b"\r\n", at)) >= 0:
            try:
                size = int(bytes(self._buffer[at:end]).split(b";")[0], 16)
            except ValueError as error:
                raise HttpError(f"chunk size is {bytes(self._buffer[at:end])!r}") from error
            at = end + 2
            if len(self._buffer) < at + size + 2:
                return None
            body += self._buffer[at : at + size]
            at += size + 2
            if size == 0:
                del self._buffer[:at]
                return bytes(body)
        return None


def _parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head.split(b"\r\n")
    parts = first.split(b" ", 2)
    if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise HttpError(f"the answer begins with {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1]), headers
