"""Scraper: fetches a server's metrics page and reads it, within a time and a size limit."""

from __future__ import annotations

import asyncio

import httpx

from service.domain.clock import Clock
from service.domain.errors import TelemetryError
from service.telemetry.exposition import read_page
from service.telemetry.reading import Reading

#: The path under which TensorFlow Serving, and the embedded server, show their metrics.
DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"

#: A server with dozens of models shows some hundred kilobytes; what is larger is no metrics page.
MAX_PAGE_BYTES = 4 << 20


class Scraper:
    """Reads one model's metrics from one server. Safe for concurrent use.

    Args:
        url: The page, such as ``http://127.0.0.1:8501/monitoring/prometheus/metrics``.
        model: The model's name as the server knows it.
        client: Shared connections; the caller closes it.
        clock: Stamps the readings.
        timeout_seconds: For the whole fetch.
    """

    def __init__(
        self, url: str, model: str, client: httpx.AsyncClient, clock: Clock, *, timeout_seconds: float = 2.0
    ) -> None:
        self._url = url
        self._model = model
        self._client = client
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    async def read(self) -> Reading:
        """One reading, stamped with the middle of the time between the question and the first byte of the answer.

        Raises:
            TelemetryError: No answer in time, not a metrics page, or one that is cut, too large or contradictory;
                says what and where.
        """
        asked = self._clock.monotonic()
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream("GET", self._url, timeout=self._timeout_seconds) as answer,
            ):
                answered = self._clock.monotonic()
                now = self._clock.time()
                text = await self._text_of(answer)
        except (TimeoutError, httpx.TimeoutException):
            raise TelemetryError(f"{self._url} gave no metrics within {self._timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TelemetryError(f"{self._url} could not be fetched: {str(error) or type(error).__name__}") from error
        half = (answered - asked) / 2
        try:
            return read_page(text, model=self._model, monotonic=asked + half, time=now - half)
        except TelemetryError as error:
            raise TelemetryError(f"{self._url}: {error}") from error

    async def _text_of(self, answer: httpx.Response) -> str:
        if answer.status_code != httpx.codes.OK:
            raise TelemetryError(
                f"{self._url} answered {answer.status_code}; TensorFlow Serving shows metrics only with a "
                f"--monitoring_config_file that enables prometheus_config, at its path (usually {DEFAULT_METRICS_PATH})"
            )
        page = bytearray()
        async for chunk in answer.aiter_bytes():
            page += chunk
            if len(page) > MAX_PAGE_BYTES:
                raise TelemetryError(f"{self._url} sent more than {MAX_PAGE_BYTES >> 20} MiB; that is no metrics page")
        try:
            return page.decode()
        except UnicodeDecodeError as error:
            raise TelemetryError(f"{self._url} sent no UTF-8 text: {error}") from error
