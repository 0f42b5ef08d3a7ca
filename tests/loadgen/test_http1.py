from __future__ import annotations

import pytest

from service.loadgen.http1 import HttpError, HttpResponse, ResponseParser

SIZED = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\ncontent-type: x\r\n\r\n{"a": [1, 2]}'
CHUNKED = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_answer_is_read_however_it_is_cut(step: int) -> None:
    parser = ResponseParser()
    for expected in (HttpResponse(200, b'{"a": [1, 2]}', True), HttpResponse(503, b"abcdefg", True)) * 2:
        wire = SIZED if expected.status == 200 else CHUNKED
        pieces = [wire[i : i + step] for i in range(0, len(wire), step)]
        assert [parser.feed(piece) for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert parser.feed(pieces[-1]) == expected


def test_a_closing_server_is_heard() -> None:
    response = ResponseParser().feed(b"HTTP/1.1 204 Gone\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n")
    assert response == HttpResponse(204, b"", False)


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(wire: bytes) -> None:
    with pytest.raises(HttpError):
        ResponseParser().feed(wire)
