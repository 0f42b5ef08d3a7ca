"""Pacer: wakes the event loop when the next request is due, to some tens of microseconds.

Event loops keep time in milliseconds: on its own a loop would send each request up to 1 ms late, as long as a light
model takes to answer. On Linux a timer file descriptor (timerfd_create(2)) wakes the loop by the kernel's
high-resolution timers without spinning, which would take a core from the server under test. Elsewhere the loop's own
timer has to do, and the recorded lag shows what that costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


class Pacer(Protocol):
    """Calls back once for each :meth:`arm`."""

    def arm(self, when: float) -> None:
        """Call back at ``when`` (``time.monotonic()``), soon if it has passed; replaces an earlier call."""
        ...

    def close(self) -> None:
        """Never call back again. Idempotent."""
        ...


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class TimerFdPacer:
    """By a Linux timer file descriptor on the monotonic clock."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop.add_reader(self._fd, self._expired)

    def arm(self, when: float) -> None:
        """One system call; a time in the past expires at once."""
        nanoseconds = max(1, round(when * 1e9))  # All zeros would disarm the timer.
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(*divmod(nanoseconds, 1_000_000_000)))
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def _expired(self) -> None:
        with contextlib.suppress(BlockingIOError):  # Armed anew between expiry and this call.
            os.read(self._fd, 8)
            self._callback()

    def close(self) -> None:
        """Stop and close the descriptor."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class LoopPacer:
    """By the event loop's own timer, to about a millisecond."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, when: float) -> None:
        """Replaces the timer."""
        self.close()
        self._handle = self._loop.call_later(max(0.0, when - time.monotonic()), self._callback)

    def close(self) -> None:
        """Cancel the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def make_pacer(callback: Callable[[], None]) -> Pacer:
    """The finest pacer that this platform has, on the running event loop."""
    return TimerFdPacer(callback) if sys.platform == "linux" else LoopPacer(callback)
