"""MetricsProxy: stands between the control service and a server's metrics page, and alters what passes on demand."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

#: What becomes of a page's text; None: no answer at all.
Alter = Callable[[str], str | None]

_TIMEOUT_SECONDS = 5.0
_SAMPLE = re.compile(r"^(\S+(?:\{.*\})?) (\S+)$", re.MULTILINE)
_GAUGE = re.compile(r"^# TYPE (\S+) gauge$", re.MULTILINE)
_LATENCY = "regulus_modelserver_request_latency_seconds"


def untouched(text: str) -> str | None:
    """As it is."""
    return text


def missing(text: str) -> str | None:
    """No answer: the connection is closed."""
    del text
    return None


def not_a_number(text: str) -> str | None:
    """Every sum is NaN."""
    return _SAMPLE.sub(lambda found: f"{found[1]} NaN" if "_sum" in found[1] else found[0], text)


def contradictory(text: str) -> str | None:
    """Cumulative buckets that go down."""
    return _SAMPLE.sub(lambda found: f"{found[1]} 0" if 'le="+Inf"' in found[1] else found[0], text)


def frozen() -> Alter:
    """The page as it was when first asked, again and again."""
    kept: list[str] = []

    def first(text: str) -> str | None:
        kept.append(text)
        return kept[0]

    return first


def slower(text: str) -> str | None:
    """A lie that contradicts nothing: every request took seconds, for all counts fall into the last buckets."""

    def moved(found: re.Match[str]) -> str:
        name = found[1]
        edge = re.search(r'le="([^"+]+)"', name)
        if edge and name.startswith(f"{_LATENCY}_bucket") and float(edge[1]) < 2.0:
            return f"{name} 0"
        return found[0]

    return _SAMPLE.sub(moved, text)


class MetricsProxy:
    """Forwards one page.

    Attributes:
        alter: What becomes of each page from now on.
        seen: Pages that were asked for.
    """

    def __init__(self, upstream: str, client: httpx.AsyncClient) -> None:
        self._upstream = upstream
        self._client = client
        self._origin: dict[str, float] | None = {}
        self.alter: Alter = untouched
        self.seen = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where the page is to be had."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def reset(self) -> None:
        """From the next page on all counters begin anew, until they do so by themselves; what is no counter stays."""
        self._origin = None

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, then close."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            self.seen += 1
            status, text = await self._page()
            if text is not None:
                body = text.encode()
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()

    async def _page(self) -> tuple[int, str | None]:
        try:
            answer = await self._client.get(self._upstream, timeout=_TIMEOUT_SECONDS)
        except httpx.HTTPError:
            return 0, None
        return answer.status_code, self.alter(self._since_reset(answer.text))

    def _since_reset(self, text: str) -> str:
        counts = _counts(text)
        if self._origin is None:
            self._origin = counts
        if any(counts.get(series, past) < past for series, past in self._origin.items()):
            # Who counts was started anew meanwhile: less what it counted in another life, nothing would add up.
            self._origin = {}
        if not self._origin:
            return text
        origin = self._origin

        def counted(found: re.Match[str]) -> str:
            past = origin.get(found[1], 0.0)
            value = float(found[2]) - past
            return found[0] if past == 0 else f"{found[1]} {value if '_sum' in found[1] else int(value)}"

        return _SAMPLE.sub(counted, text)


def _counts(text: str) -> dict[str, float]:
    """What a page counts, by series: all but gauges."""
    gauges = set(_GAUGE.findall(text))
    found = {one[1]: float(one[2]) for one in _SAMPLE.finditer(text) if not one[1].startswith("#")}
    return {series: value for series, value in found.items() if series.partition("{")[0] not in gauges}


@asynccontextmanager
async def metrics_proxy(upstream: str, client: httpx.AsyncClient) -> AsyncIterator[MetricsProxy]:
    """A proxy on a free loopback port until the block ends."""
    proxy = MetricsProxy(upstream, client)
    async with await asyncio.start_server(proxy.talk, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
