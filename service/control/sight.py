"""Sight: one model's metrics, read at a steady pace, and how old the newest reading is."""

from __future__ import annotations

from service.control.canary import Beside
from service.control.settings import LoopSettings
from service.control.spikes import SpikeMeter
from service.domain.clock import Clock
from service.domain.errors import TelemetryError
from service.domain.window import Window
from service.telemetry.own_metrics import ControlMetrics
from service.telemetry.scraper import Scraper
from service.telemetry.windows import WindowBuilder, WindowSettings


class Sight:
    """What is seen of a server. A reading that fails changes nothing; only their lasting absence does.

    Args:
        model: Name of the model, for metrics.
        scraper: Where readings come from.
        settings: How long and full windows are, and when readings are stale.
        clock: Time.
        metrics: Told of failures.
    """

    def __init__(
        self, model: str, scraper: Scraper, settings: LoopSettings, clock: Clock, metrics: ControlMetrics
    ) -> None:
        self._model = model
        self._scraper = scraper
        self._clock = clock
        self._metrics = metrics
        self._stale_after = settings.metrics_stale_seconds
        self._began_at = clock.monotonic()
        self._read_at: float | None = None
        self._error: str | None = None
        self.spikes = SpikeMeter()
        self._settings = settings
        self._beside: Beside | None = None
        self.windows = WindowBuilder(
            WindowSettings(
                window_seconds=settings.window_seconds,
                min_requests=settings.min_requests,
                max_window_seconds=settings.max_window_seconds,
                blanking_seconds=settings.blanking_seconds,
                max_gap_seconds=settings.metrics_stale_seconds,
            ),
            clock,
        )

    async def look(self) -> None:
        """Take one reading."""
        try:
            reading = await self._scraper.read()
        except TelemetryError as error:
            self._error = str(error)
            self._metrics.scrape_failed(self._model)
            return
        self._error = None
        self._read_at = reading.monotonic
        self.windows.add(reading)
        self.spikes.add(reading)
        if self._beside is not None:
            self._beside.add(reading)

    def trial(self, *, on: bool) -> None:
        """From now on, or no longer, see apart what the process that tries something out does. Idempotent."""
        if on != (self._beside is not None):
            self._beside = Beside(self._settings, self._clock) if on else None

    @property
    def beside(self) -> tuple[Window, Window] | None:
        """What the process that tries something out did so far, and the one beside it; None while that is unknown."""
        return self._beside.seen() if self._beside is not None else None

    @property
    def age_seconds(self) -> float | None:
        """Age of the newest reading; None before the first."""
        return None if self._read_at is None else max(self._clock.monotonic() - self._read_at, 0.0)

    @property
    def missing(self) -> str | None:
        """Why metrics count as missing, as a sentence; None when they do not."""
        since = self._began_at if self._read_at is None else self._read_at
        blind = self._clock.monotonic() - since
        if blind <= self._stale_after:
            return None
        return f"no metrics for {blind:.0f} s: {self._error or 'no reading has been finished'}"
