"""WindowBuilder: readings in, windows out."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.clock import Clock
from service.domain.window import Window
from service.telemetry.reading import Reading
from service.telemetry.stationarity import Stationarity


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How long and how full a window must be. Times in seconds.

    Attributes:
        window_seconds: Length from which a window may be judged; a longer one slides on, keeping this length.
        min_requests: Requests from which a window may be judged; below it the window goes on growing.
        max_window_seconds: A window never grows beyond this, however few its requests.
        blanking_seconds: What follows a switch and is not measured: caches are cold, the old queue drains.
        max_gap_seconds: Two readings further apart are not joined: too much may have happened between them.
    """

    window_seconds: float = 30.0
    min_requests: int = 200
    max_window_seconds: float = 300.0
    blanking_seconds: float = 2.0
    max_gap_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Why and when (unix time, seconds) the present window was begun anew."""

    reason: str
    at: float


class WindowBuilder:
    """Turns readings into windows, one model of one server each. Pure: no I/O. Not thread-safe.

    The window grows with each reading, slides once it is long and full enough, and begins anew by itself when the
    server restarted (a counter went down), its configuration generation changed, or readings were too far apart.
    """

    def __init__(self, settings: WindowSettings, clock: Clock) -> None: ...

    @property
    def last_restart(self) -> Restart | None:
        """Why the present window began anew; None before the first restart."""
        raise NotImplementedError

    @property
    def blanking(self) -> bool:
        """Whether what happens now is not measured, because a restart has just been."""
        raise NotImplementedError

    def add(self, reading: Reading) -> None:
        """Take the next reading; one that is not newer than the last is ignored."""
        raise NotImplementedError

    def restart(self, reason: str) -> None:
        """Throw the window away, after a switch: blank, then begin at the first reading after the blanking."""
        raise NotImplementedError

    def start_next(self) -> None:
        """The window was used: the next begins where it ended, without blanking and without overlap."""
        raise NotImplementedError

    def rebase_to_recent(self) -> None:
        """Keep the later half: what follows the change that made the window not stationary."""
        raise NotImplementedError

    def current(self) -> Window | None:
        """The window so far, whatever its quality; None with fewer than two readings.

        Its quality names the first that holds of: TOO_SHORT, NO_TRAFFIC, TOO_FEW_REQUESTS, NOT_STATIONARY, GOOD.
        A TOO_SHORT or NOT_STATIONARY window holds all that was measured, so that the loop may act on a violation
        that is already certain.
        """
        raise NotImplementedError

    def stationarity(self) -> Stationarity:
        """What moved within the window so far; steady while there is too little to tell."""
        raise NotImplementedError
