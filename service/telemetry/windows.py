"""WindowBuilder: readings in, windows out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.clock import Clock
from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram
from service.domain.window import Window, WindowQuality
from service.domain.workload import Workload
from service.telemetry.arrivals import coefficient_of_variation
from service.telemetry.catalogue import CLIENT_ERROR_STATUSES, OK_STATUS, REJECTED_STATUSES
from service.telemetry.reading import Reading, difference
from service.telemetry.stationarity import Stationarity, assess


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How long and how full a window must be. Times in seconds.

    Attributes:
        window_seconds: Length from which a window may be judged; a longer one slides on, keeping this length.
        min_requests: Requests from which a window may be judged; below it the window goes on growing.
        max_window_seconds: A window never grows beyond this, however few its requests.
        blanking_seconds: What follows a switch and is not measured: caches are cold, the old queue drains.
        max_gap_seconds: Two readings further apart are not joined: too much may have happened between them.

    Raises:
        InvalidValueError: A value is out of range; names the field.
    """

    window_seconds: float = 30.0
    min_requests: int = 200
    max_window_seconds: float = 300.0
    blanking_seconds: float = 2.0
    max_gap_seconds: float = 15.0

    def __post_init__(self) -> None:
        if not self.window_seconds > 0:
            raise InvalidValueError("window_seconds", f"must be above 0, not {self.window_seconds}")
        if self.min_requests < 1:
            raise InvalidValueError("min_requests", f"must be at least 1, not {self.min_requests}")
        if not self.max_window_seconds >= self.window_seconds:
            raise InvalidValueError(
                "max_window_seconds",
                f"must be at least window_seconds {self.window_seconds}, not {self.max_window_seconds}",
            )
        if not self.blanking_seconds >= 0:
            raise InvalidValueError("blanking_seconds", f"must not be negative, not {self.blanking_seconds}")
        if not self.max_gap_seconds > 0:
            raise InvalidValueError("max_gap_seconds", f"must be above 0, not {self.max_gap_seconds}")


@dataclass(frozen=True, slots=True)
class Restart:
    """Why and when (unix time, seconds) the present window was begun anew."""

    reason: str
    at: float


class WindowBuilder:
    """Turns readings into windows, one model of one server each. Pure: no I/O. Not thread-safe.

    The window grows with each reading, slides once it is long and full enough, forgets a load that has ended, and
    begins anew by itself when the server restarted (a counter went down), its configuration generation changed, or
    readings were too far apart. A missed reading or two does no harm: counters are cumulative.

    Args:
        settings: How long and how full a window must be.
        clock: Tells when the blanking after a restart ends; the same that stamps the readings.
    """

    def __init__(self, settings: WindowSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._readings: deque[Reading] = deque()
        self._blank_until = -float("inf")
        self._last_restart: Restart | None = None

    @property
    def last_restart(self) -> Restart | None:
        """Why the present window began anew; None before the first restart."""
        return self._last_restart

    @property
    def blanking(self) -> bool:
        """Whether what happens now is not measured, because a restart has just been."""
        return self._clock.monotonic() < self._blank_until

    def add(self, reading: Reading) -> None:
        """Take the next reading; one that is not newer than the last, or falls into the blanking, is ignored."""
        if reading.monotonic < self._blank_until:
            return
        if self._readings:
            last = self._readings[-1]
            gap = reading.monotonic - last.monotonic
            if gap <= 0:
                return
            if (reason := reading.discontinuity(last)) is not None:
                self.restart(reason)
                return
            if gap > self._settings.max_gap_seconds:
                self._begin_anew(f"no metrics for {gap:.1f} s")
        if self._silent() and reading.arrivals > self._readings[-1].arrivals:
            # A load begins. The gap before its first request is no part of it: it would spoil the rate and the CV.
            self._readings.clear()
        self._readings.append(reading)
        self._forget_what_ended()
        self._slide()

    def restart(self, reason: str) -> None:
        """Throw the window away, after a switch: blank, then begin at the first reading after the blanking."""
        self._begin_anew(reason)
        self._blank_until = self._clock.monotonic() + self._settings.blanking_seconds

    def start_next(self) -> None:
        """The window was used: the next begins where it ended, without blanking and without overlap."""
        while len(self._readings) > 1:
            self._readings.popleft()

    def rebase_to_recent(self) -> None:
        """Keep the later half, at most half a ``window_seconds``: what follows the change that was found."""
        if not self._readings:
            return
        end = self._readings[-1].monotonic
        kept_seconds = min(end - self._readings[0].monotonic, self._settings.window_seconds) / 2
        while self._readings[0].monotonic < end - kept_seconds:
            self._readings.popleft()

    def current(self) -> Window | None:
        """The window so far, whatever its quality; None with fewer than two readings.

        Its quality names the first that holds of: TOO_SHORT, NO_TRAFFIC, TOO_FEW_REQUESTS, NOT_STATIONARY, GOOD.
        A TOO_SHORT or NOT_STATIONARY window holds all that was measured, so that the loop may act on a violation
        that is already certain; :meth:`stationarity` says whether it is getting better or worse.

        Requests that failed through the caller's own doing (INVALID_ARGUMENT, NOT_FOUND and their like) are in the
        arrival rate and in nothing else: they are no failures of the server.
        """
        if len(self._readings) < 2:
            return None
        readings = tuple(self._readings)
        first, last = readings[0], readings[-1]
        seconds = last.monotonic - first.monotonic
        latency = difference(last.latency, first.latency) or Histogram.empty(())
        by_status = {status: count - first.requests.get(status, 0) for status, count in last.requests.items()}
        alone = last.foreign_requests == first.foreign_requests
        return Window(
            started_at=first.time,
            duration_seconds=seconds,
            latency=latency,
            workload=Workload(
                rate_per_second=(last.arrivals - first.arrivals) / seconds,
                cv=coefficient_of_variation(readings),
                examples_per_request=_examples_per_request(first, last, alone=alone),
            ),
            quality=self._quality(readings),
            succeeded=by_status.get(OK_STATUS, 0),
            rejected=sum(by_status.get(status, 0) for status in REJECTED_STATUSES),
            failed=sum(count for status, count in by_status.items() if _is_failure(status)),
            batch_size=difference(last.batch_size, first.batch_size) if alone else None,
            queueing=difference(last.queueing, first.queueing) if alone else None,
        )

    def stationarity(self) -> Stationarity:
        """What moved within the window so far; steady while there is too little to tell."""
        return assess(tuple(self._readings))

    def _quality(self, readings: Sequence[Reading]) -> WindowQuality:
        requests = _judged_requests(readings[0], readings[-1])
        if readings[-1].monotonic - readings[0].monotonic < self._settings.window_seconds:
            return WindowQuality.TOO_SHORT
        if self._silent():
            return WindowQuality.NO_TRAFFIC
        if requests < self._settings.min_requests:
            return WindowQuality.TOO_FEW_REQUESTS
        return WindowQuality.GOOD if assess(readings).steady else WindowQuality.NOT_STATIONARY

    def _slide(self) -> None:
        """Drop what is older than the window needs to be."""
        last = self._readings[-1]
        while len(self._readings) > 2:
            without_first = last.monotonic - self._readings[1].monotonic
            enough = (
                without_first >= self._settings.window_seconds
                and _judged_requests(self._readings[1], last) >= self._settings.min_requests
            )
            too_long = last.monotonic - self._readings[0].monotonic > self._settings.max_window_seconds
            if not (enough or too_long):
                return
            self._readings.popleft()

    def _silent(self) -> bool:
        """Whether the whole window, long enough to tell, has seen nothing."""
        if not self._readings:
            return False
        first, last = self._readings[0], self._readings[-1]
        return (
            last.monotonic - first.monotonic >= self._settings.window_seconds
            and last.arrivals == first.arrivals
            and _judged_requests(first, last) == 0
        )

    def _forget_what_ended(self) -> None:
        """When nothing has come for ``window_seconds``, what came before is another load, and over.

        A load that is heavy enough to be judged (``min_requests`` in ``max_window_seconds``) has no such gaps.
        """
        last = self._readings[-1]
        silent_from = 0
        for index in range(len(self._readings) - 1, -1, -1):
            reading = self._readings[index]
            if reading.arrivals != last.arrivals or _judged_requests(reading, last) > 0:
                break
            silent_from = index
        if last.monotonic - self._readings[silent_from].monotonic >= self._settings.window_seconds:
            for _ in range(silent_from):
                self._readings.popleft()

    def _begin_anew(self, reason: str) -> None:
        self._readings.clear()
        self._last_restart = Restart(reason, self._clock.time())


def _is_failure(status: str) -> bool:
    return status != OK_STATUS and status not in REJECTED_STATUSES and status not in CLIENT_ERROR_STATUSES


def _judged_requests(first: Reading, last: Reading) -> int:
    """Requests between two readings that say something of the server: all but the caller's own errors."""
    return sum(
        count - first.requests.get(status, 0)
        for status, count in last.requests.items()
        if status not in CLIENT_ERROR_STATUSES
    )


def _examples_per_request(first: Reading, last: Reading, *, alone: bool) -> float:
    """Mean examples of a request; 1 where the server does not tell.

    Args:
        first: At the window's begin.
        last: At its end.
        alone: Whether no other model of the server was asked, so that metrics without a model label are this one's.
    """
    counted = difference(last.request_examples, first.request_examples)
    if counted is not None and counted.count:
        return counted.mean
    entered = difference(last.session_inputs, first.session_inputs) if alone else None
    if entered is None or entered.count == 0:
        return 1.0
    # TensorFlow Serving counts each input of each request, so at least as often as requests succeed; a server that
    # counts less often does so once a batch.
    succeeded = last.requests.get(OK_STATUS, 0) - first.requests.get(OK_STATUS, 0)
    return max(entered.total / max(entered.count, succeeded), 1.0)
