"""MetricsPage: one server's metrics page, fetched and parsed once for all models that are read from it.

What a server sends is not trusted. A fetch has a time limit and a size limit, nothing compressed is unpacked (a few
kilobytes may unfold to gigabytes), a large page is parsed in a thread, one that is expensive to parse is fetched less
often, and one that cannot be had is asked for less and less often: so no server takes more than a share of this
process, whatever it sends.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httpx

from service.domain.backoff import Backoff
from service.domain.clock import Clock
from service.domain.errors import TelemetryError
from service.telemetry.exposition import Page, parse_page

#: The path under which TensorFlow Serving, and the embedded server, show their metrics.
DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"

#: A server with dozens of models shows some hundred kilobytes; what is larger is no metrics page.
MAX_PAGE_BYTES = 4 << 20

#: A page up to this size is parsed where it stands, in a few milliseconds; a larger one in a thread, so that the loops
#: of other models go on.
INLINE_BYTES = 128 << 10

#: Share of one processor that the parsing of one page may take; a page that costs more is read less often.
PARSE_SHARE = 0.1

_PLAIN = {"accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page and when it was fetched.

    Attributes:
        page: What was on it.
        monotonic: The middle of the time between the question and the first byte of the answer, seconds.
        time: The same moment, unix time, seconds.
    """

    page: Page
    monotonic: float
    time: float


class MetricsPage:
    """One page. For use in one event loop, by any number of readers.

    Args:
        url: The page, such as ``http://127.0.0.1:8501/monitoring/prometheus/metrics``.
        client: Connections; the caller closes it.
        clock: Stamps what is fetched.
        timeout_seconds: For the whole fetch.
        share_seconds: A page, or the error in its place, that is younger than this is given to further readers; 0
            fetches for each of them.
        backoff: How long an error is given to all readers before the page is asked for again; None: as a page.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        clock: Clock,
        *,
        timeout_seconds: float = 2.0,
        share_seconds: float = 0.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._share_seconds = share_seconds
        self._backoff = backoff or Backoff(0.0, 0.0)
        self._turn = asyncio.Lock()
        self._last: Fetched | TelemetryError | None = None
        self._good_until = -float("inf")
        self._fetches = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    async def read(self) -> Fetched:
        """The page as it is now, or was a moment ago.

        Raises:
            TelemetryError: No answer in time, not a metrics page, or one that is cut, too large or contradictory;
                says what and where.
        """
        # Whoever comes while another fetches waits for that, and takes what it brought, however long it took: a server
        # that hangs is waited for once and not once a model.
        fetches = self._fetches
        async with self._turn:
            asked = self._clock.monotonic()
            if self._last is None or (asked >= self._good_until and self._fetches == fetches):
                # Should this reader be cancelled meanwhile, the next one fetches.
                self._last = None
                try:
                    self._last = await self._fetch(asked)
                    self._backoff.succeeded()
                except TelemetryError as error:
                    self._last = error
                    failed = self._clock.monotonic()
                    self._good_until = failed + self._backoff.failed(failed)
                self._good_until = max(self._good_until, asked + self._share_seconds)
                self._fetches += 1
            last = self._last
        if isinstance(last, TelemetryError):
            raise TelemetryError(str(last)) from last
        return last

    async def _fetch(self, asked: float) -> Fetched:
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream("GET", self._url, timeout=self._timeout_seconds, headers=_PLAIN) as answer,
            ):
                answered = self._clock.monotonic()
                now = self._clock.time()
                content = await self._content_of(answer)
        except (TimeoutError, httpx.TimeoutException):
            raise TelemetryError(f"{self._url} gave no metrics within {self._timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TelemetryError(f"{self._url} could not be fetched: {str(error) or type(error).__name__}") from error
        half = (answered - asked) / 2
        return Fetched(await self._parsed(content, asked), asked + half, now - half)

    async def _content_of(self, answer: httpx.Response) -> bytes:
        if answer.status_code != httpx.codes.OK:
            raise TelemetryError(
                f"{self._url} answered {answer.status_code}; TensorFlow Serving shows metrics only with a "
                f"--monitoring_config_file that enables prometheus_config, at its path (usually {DEFAULT_METRICS_PATH})"
            )
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise TelemetryError(f"{self._url} sent its page compressed ({encoding[:40]}), which was not asked for")
        content = bytearray()
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > MAX_PAGE_BYTES:
                raise TelemetryError(f"{self._url} sent more than {MAX_PAGE_BYTES >> 20} MiB; that is no metrics page")
        return bytes(content)

    async def _parsed(self, content: bytes, asked: float) -> Page:
        try:
            if len(content) <= INLINE_BYTES:
                return _parse(content)[0]
            page, seconds = await asyncio.to_thread(_parse, content)
        except UnicodeDecodeError as error:
            raise TelemetryError(f"{self._url} sent no UTF-8 text: {error}") from error
        except TelemetryError as error:
            raise TelemetryError(f"{self._url}: {error}") from error
        self._good_until = asked + seconds / PARSE_SHARE
        return page


def _parse(content: bytes) -> tuple[Page, float]:
    """The page, and the processor time that it took, seconds."""
    begun = time.thread_time()
    page = parse_page(content.decode("utf-8"))
    return page, time.thread_time() - begun
