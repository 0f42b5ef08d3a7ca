"""Scraper: fetches a server's metrics page and reads it, within a time and a size limit."""

from __future__ import annotations

import httpx

from service.domain.clock import Clock
from service.telemetry.reading import Reading

#: The path under which TensorFlow Serving, and the embedded server, show their metrics.
DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


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
    ) -> None: ...

    async def read(self) -> Reading:
        """One reading, stamped with the middle of the fetch.

        Raises:
            TelemetryError: No answer in time, not a metrics page, or one that is cut, too large or contradictory;
                says what and where.
        """
        raise NotImplementedError
