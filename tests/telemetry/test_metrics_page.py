"""A page is fetched and parsed once for all its readers, and no server takes more than its share."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from itertools import pairwise
from random import Random

import httpx
import pytest

from service.domain.backoff import Backoff
from service.domain.errors import TelemetryError
from service.telemetry import metrics_page
from service.telemetry.exposition import MAX_SERIES, parse_page
from service.telemetry.metrics_page import INLINE_BYTES, MetricsPage
from tests.support.manual_clock import ManualClock

COUNT = ':tensorflow:serving:request_count{{model_name="{}",status="OK"}} {}\n'
URL = "http://node.test/metrics"


class Server:
    """Answers with ``text`` and counts."""

    def __init__(self, text: str = COUNT.format("m", 5)) -> None:
        self.text = text
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.content: bytes | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await asyncio.sleep(0)
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(200, headers=self.headers, content=self.content or self.text.encode())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def page_of(server: Server, clock: ManualClock, share_seconds: float = 0.4) -> MetricsPage:
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    return MetricsPage(URL, client, clock, share_seconds=share_seconds)


async def test_readers_who_come_together_share_one_fetch(clock):
    server = Server(COUNT.format("a", 1) + COUNT.format("b", 2))
    page = page_of(server, clock)
    fetched = await asyncio.gather(*(page.read() for _ in range(20)))
    assert server.asked == 1
    readings = [fetched[0].page.reading(model=name, monotonic=0, time=0) for name in ("a", "b")]
    assert [(one.requests, one.foreign_requests) for one in readings] == [({"OK": 1}, 2), ({"OK": 2}, 1)]


async def test_a_server_that_hangs_is_waited_for_once_and_not_once_a_reader(clock):
    server = Server("]]\n")

    async def slow(request: httpx.Request) -> httpx.Response:
        clock.advance(2.0)
        return await server(request)

    page = MetricsPage(URL, httpx.AsyncClient(transport=httpx.MockTransport(slow)), clock, share_seconds=0.4)
    found = await asyncio.gather(*(page.read() for _ in range(20)), return_exceptions=True)
    assert [type(one) for one in found] == [TelemetryError] * 20
    assert server.asked == 1


async def test_an_older_page_is_fetched_anew(clock):
    server = Server()
    page = page_of(server, clock)
    await page.read()
    clock.advance(0.39)
    await page.read()
    assert server.asked == 1
    clock.advance(0.02)
    server.text = COUNT.format("m", 6)
    assert (await page.read()).page.reading(model="m", monotonic=0, time=0).requests == {"OK": 6}
    assert server.asked == 2


async def test_an_error_is_shared_too_so_a_server_in_trouble_is_asked_once(clock):
    server = Server("]]\n")
    page = page_of(server, clock)
    for _ in range(3):
        with pytest.raises(TelemetryError, match="not Prometheus text"):
            await page.read()
    assert server.asked == 1


async def test_a_reader_who_leaves_does_not_take_the_page_from_the_next(clock):
    server = Server()
    page = page_of(server, clock)
    leaving = asyncio.create_task(page.read())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await page.read()).page.requests == 5


async def test_a_compressed_page_is_not_unpacked(clock):
    server = Server()
    server.headers, server.content = {"content-encoding": "gzip"}, gzip.compress(b"#" * 10_000_000)
    with pytest.raises(TelemetryError, match=r"compressed \(gzip\)"):
        await page_of(server, clock).read()


async def test_a_page_that_is_expensive_to_parse_is_read_less_often(clock, monkeypatch):
    server = Server(COUNT.format("m", 5) + "# nothing\n" * (INLINE_BYTES // 10 + 1))
    page = page_of(server, clock, share_seconds=0.0)
    monkeypatch.setattr(metrics_page, "PARSE_SHARE", 1e-9)
    await page.read()
    clock.advance(60.0)
    await page.read()
    assert server.asked == 1


def test_series_beyond_all_measure_are_refused_before_they_cost_time():
    text = "".join(f':tensorflow:serving:request_count{{model_name="m",status="{i}"}} 1\n' for i in range(MAX_SERIES))
    assert parse_page(text).requests == MAX_SERIES
    with pytest.raises(TelemetryError, match=f"more than {MAX_SERIES} series"):
        parse_page(text + COUNT.format("m", 1))


class TestAServerThatFails:
    def page(self, answer: Callable[[], httpx.Response], clock: ManualClock) -> tuple[MetricsPage, list[float]]:
        """A page, and when it was asked for."""
        asked: list[float] = []

        def server(request: httpx.Request) -> httpx.Response:
            asked.append(clock.monotonic())
            return answer()

        client = httpx.AsyncClient(transport=httpx.MockTransport(server))
        backoff = Backoff(0.5, 4.0, Random(1))  # noqa: S311 — guards nothing
        return MetricsPage(URL, client, clock, share_seconds=0.4, backoff=backoff), asked

    async def look(self, page: MetricsPage, clock: ManualClock, seconds: float) -> int:
        """Three readers look twice a second; returns how often they saw something."""
        seen = 0
        for _ in range(round(seconds * 2)):
            clock.advance(0.5)
            found = await asyncio.gather(*(page.read() for _ in range(3)), return_exceptions=True)
            seen += sum(1 for one in found if not isinstance(one, TelemetryError))
        return seen

    async def test_is_asked_less_and_less_often_up_to_a_bound(self, clock):
        page, asked = self.page(lambda: httpx.Response(503), clock)
        assert await self.look(page, clock, 60.0) == 0
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        assert 60 / 4.5 - 3 <= len(asked) <= 60 / 2
        assert max(pauses) <= 4.5
        assert len(set(pauses[4:])) > 1  # not in step with others that fail

    async def test_is_asked_as_before_from_its_first_answer_on(self, clock):
        answers = [httpx.Response(503)] * 5
        page, asked = self.page(
            lambda: answers.pop() if answers else httpx.Response(200, text=COUNT.format("m", 5)), clock
        )
        await self.look(page, clock, 20.0)
        assert answers == []
        before = len(asked)
        assert await self.look(page, clock, 10.0) == 60
        assert len(asked) == before + 20

    async def test_says_its_error_to_all_meanwhile(self, clock):
        page, _ = self.page(lambda: httpx.Response(503), clock)
        for _ in range(5):
            with pytest.raises(TelemetryError, match="answered 503"):
                await page.read()
            clock.advance(0.1)
