"""Backoff: how long to leave something alone that keeps failing. Pure."""

from __future__ import annotations


class Backoff:
    """Pauses that double with each failure in a row, from ``first`` to ``longest`` seconds.

    Times are monotonic seconds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = max(first, longest)
        self._pause = first
        self._until: float | None = None

    def failed(self, now: float) -> float:
        """Note a failure; returns the pause that follows, seconds."""
        pause = self._pause
        self._until = now + pause
        self._pause = min(pause * 2, self._longest)
        return pause

    def succeeded(self) -> None:
        """Forget all failures."""
        self._pause = self._first
        self._until = None

    def waiting(self, now: float) -> bool:
        """Whether it is too early for another attempt."""
        return self._until is not None and now < self._until
