"""The connection pool against small real servers that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.http1 import HttpResponse
from service.loadgen.http_pool import Failure, HttpPool
from tests.support.processes import free_port

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def pool_for(handler: Handler, timeout: float = 20.0) -> AsyncIterator[tuple[HttpPool, list[int]]]:
    """A pool on a server, and the list that grows with each connection made to it."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool = HttpPool("127.0.0.1", server.sockets[0].getsockname()[1], timeout, 10)
    try:
        yield pool, connections
    finally:
        await pool.close()
        server.close()


async def exchange(pool: HttpPool) -> HttpResponse | Failure:
    answer: asyncio.Future[HttpResponse | Failure] = asyncio.get_running_loop().create_future()
    pool.exchange(REQUEST, answer.set_result)
    return await asyncio.wait_for(answer, 30)


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)


async def test_a_connection_is_used_again() -> None:
    async with pool_for(answering) as (pool, connections):
        for _ in range(3):
            assert await exchange(pool) == HttpResponse(200, b"ok", True)
        assert len(connections) == 1


async def test_requests_at_once_have_connections_of_their_own() -> None:
    async with pool_for(answering) as (pool, connections):
        await asyncio.gather(*(exchange(pool) for _ in range(5)))
        assert len(connections) == 5


async def test_a_server_that_closes_after_each_answer_is_served_by_new_connections() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    async with pool_for(closing) as (pool, connections):
        for _ in range(3):
            assert isinstance(await exchange(pool), HttpResponse)
        assert len(connections) == 3


async def test_a_connection_lost_before_the_answer_is_a_failure() -> None:
    async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with pool_for(hanging_up) as (pool, _):
        result = await exchange(pool)
        assert isinstance(result, Failure)
        assert result.code == "UNAVAILABLE"


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with pool_for(silent, timeout=0.2) as (pool, _):
        result = await exchange(pool)
        assert isinstance(result, Failure)
        assert result.code == "DEADLINE_EXCEEDED"


async def test_what_is_no_http_is_a_failure() -> None:
    async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"what?\r\n\r\n")

    async with pool_for(babbling) as (pool, _):
        result = await exchange(pool)
        assert isinstance(result, Failure)
        assert result.code == "UNKNOWN"


async def test_no_server_is_a_failure() -> None:
    pool = HttpPool("127.0.0.1", free_port(), 20.0, 10)
    result = await exchange(pool)
    await pool.close()
    assert isinstance(result, Failure)
    assert result.code == "UNAVAILABLE"


async def test_more_connections_than_the_system_allows_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="ulimit"):
        HttpPool("127.0.0.1", 1, 1.0, 2**40)
