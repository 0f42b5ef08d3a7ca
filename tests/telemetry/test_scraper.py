from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from service.domain.clock import SystemClock
from service.domain.errors import TelemetryError
from service.modelserver.metrics import ServerMetrics
from service.telemetry.scraper import MAX_PAGE_BYTES, Scraper
from tests.support.processes import free_port

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def page() -> bytes:
    metrics = ServerMetrics()
    metrics.arrival("m", 1.0)
    metrics.request("m", "Predict", "GRPC", "OK", 0.01)
    return metrics.render().encode()


def response(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def serving(answer: Answer, *, timeout_seconds: float = 5.0) -> AsyncIterator[Scraper]:
    """A scraper of a server on loopback that answers every request so."""
    under_way: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            url = f"http://127.0.0.1:{port}/metrics"
            yield Scraper(url, "m", client, SystemClock(), timeout_seconds=timeout_seconds)
        finally:
            server.close()
            await server.wait_closed()
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way)


def always(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


async def test_a_page_becomes_a_reading_stamped_with_the_time_of_the_fetch() -> None:
    clock = SystemClock()
    before = clock.monotonic(), clock.time()
    async with serving(always(response(page()))) as scraper:
        reading = await scraper.read()
    assert reading.requests == {"OK": 1}
    assert before[0] <= reading.monotonic <= clock.monotonic()
    assert before[1] - 0.001 <= reading.time <= clock.time()


async def test_several_readings_may_be_under_way_at_once() -> None:
    async with serving(always(response(page()))) as scraper:
        readings = await asyncio.gather(*(scraper.read() for _ in range(8)))
    assert [reading.requests for reading in readings] == [{"OK": 1}] * 8


async def test_a_missing_page_is_an_error_that_says_how_to_switch_it_on() -> None:
    async with serving(always(response(b'{"error": "Malformed request"}', "400 Bad Request"))) as scraper:
        with pytest.raises(TelemetryError, match=r"http://127.*answered 400.*monitoring_config_file"):
            await scraper.read()


async def test_a_page_cut_on_the_way_is_an_error() -> None:
    body = page()
    async with serving(always(response(body[:-100], length=len(body)))) as scraper:
        with pytest.raises(TelemetryError, match="could not be fetched"):
            await scraper.read()


async def test_what_cannot_be_read_names_the_address_and_the_line() -> None:
    async with serving(always(response(b"# nothing\nwhat is this?\n"))) as scraper:
        with pytest.raises(TelemetryError, match=r"http://127.*line 2"):
            await scraper.read()


async def test_a_page_that_is_no_text_is_an_error() -> None:
    async with serving(always(response(b"\xff\xfe\x00binary\n"))) as scraper:
        with pytest.raises(TelemetryError, match="no UTF-8 text"):
            await scraper.read()


async def test_an_endless_page_is_given_up_at_the_limit() -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b":tensorflow:x 1\n" * 4096)
            sent += 16 * 4096
            await writer.drain()

    async with serving(endless) as scraper:
        with pytest.raises(TelemetryError, match=r"more than 4 MiB"):
            await scraper.read()
    assert sent > MAX_PAGE_BYTES


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serving(silent, timeout_seconds=0.2) as scraper:
        with pytest.raises(TelemetryError, match=r"gave no metrics within 0.2 s"):
            await scraper.read()


async def test_a_server_that_drips_its_page_is_given_up_in_time() -> None:
    """A limit on each byte alone would never end this."""

    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"#")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(dripping, timeout_seconds=0.3) as scraper:
        with pytest.raises(TelemetryError, match=r"gave no metrics within 0.3 s"):
            await scraper.read()


async def test_nobody_listening_is_an_error_that_names_the_address() -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        scraper = Scraper(f"http://127.0.0.1:{free_port()}/metrics", "m", client, SystemClock())
        with pytest.raises(TelemetryError, match=r"http://127.*could not be fetched"):
            await scraper.read()
