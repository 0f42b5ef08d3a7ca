"""Progress: one line on standard error that says what runs now and how much time is left."""

from __future__ import annotations

import sys
from typing import TextIO

from service.domain.clock import Clock, SystemClock


class Progress:
    """Counts steps of about equal length. It writes between measurements alone, so it disturbs none.

    Args:
        steps: How many there will be.
        stream: Where to write; a terminal's line is overwritten, anything else gets a line a step.
        clock: Measures the steps.
    """

    def __init__(self, steps: int, stream: TextIO = sys.stderr, clock: Clock | None = None) -> None:
        self._steps = steps
        self._done = 0
        self._stream = stream
        self._clock = clock or SystemClock()
        self._started: float | None = None

    def begin(self, what: str) -> None:
        """The next step begins."""
        if self._started is None:
            self._started = self._clock.monotonic()
        self._write(f"[{self._done + 1}/{self._steps}] {self.time_left()}{what}")

    def done(self, steps: int = 1) -> None:
        """Steps are finished."""
        self._done += steps

    def say(self, text: str) -> None:
        """A remark that stays."""
        self._write(text, stay=True)

    def close(self) -> None:
        """Leave the line free."""
        self._write("")

    def time_left(self) -> str:
        """From the mean length of the steps so far; empty before the first is done."""
        if self._started is None or not self._done:
            return ""
        passed = self._clock.monotonic() - self._started
        left = passed / self._done * (self._steps - self._done)
        return f"{left / 60:.0f} min left: " if left >= 90 else f"{left:.0f} s left: "

    def _write(self, text: str, *, stay: bool = False) -> None:
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if stay else ""))
        elif text:
            self._stream.write(text + "\n")
        self._stream.flush()
