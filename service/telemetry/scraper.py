"""Scraper: reads one model's metrics from a server's metrics page."""

from __future__ import annotations

import httpx

from service.domain.clock import Clock
from service.domain.errors import TelemetryError
from service.telemetry.metrics_page import DEFAULT_METRICS_PATH, MAX_PAGE_BYTES, MetricsPage
from service.telemetry.reading import Reading

__all__ = ["DEFAULT_METRICS_PATH", "MAX_PAGE_BYTES", "Scraper"]


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
        self._page = MetricsPage(url, client, clock, timeout_seconds=timeout_seconds)
        self._model = model

    @classmethod
    def on(cls, page: MetricsPage, model: str) -> Scraper:
        """Reads one model from a page that others read too."""
        scraper = cls.__new__(cls)
        scraper._page, scraper._model = page, model
        return scraper

    async def read(self) -> Reading:
        """One reading, stamped with the middle of the time between the question and the first byte of the answer.

        Raises:
            TelemetryError: No answer in time, not a metrics page, or one that is cut, too large or contradictory;
                says what and where.
        """
        fetched = await self._page.read()
        try:
            return fetched.page.reading(model=self._model, monotonic=fetched.monotonic, time=fetched.time)
        except TelemetryError as error:
            raise TelemetryError(f"{self._page.url}: {error}") from error
