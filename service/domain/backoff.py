"""Backoff: how long to leave something alone that keeps failing. Pure."""

from __future__ import annotations

from random import Random

#: How much shorter than its full length a pause may be drawn, as a share of it.
JITTER = 0.5


class Backoff:
    """Pauses that double with each failure in a row, from ``first`` to ``longest`` seconds.

    Times are monotonic seconds.

    Args:
        first: The pause after the first failure.
        longest: The longest pause; at least ``first``.
        rng: Draws each pause between half its length and the whole, so that many who failed together do not come back
            together; None: pauses have their full length.
    """

    def __init__(self, first: float, longest: float, rng: Random | None = None) -> None:
        self._first = first
        self._longest = max(first, longest)
        self._rng = rng
        self._pause = first
        self._until: float | None = None

    def failed(self, now: float) -> float:
        """Note a failure; returns the pause that follows, seconds."""
        pause = self._pause * (1 - JITTER * self._rng.random()) if self._rng is not None else self._pause
        self._until = now + pause
        self._pause = min(self._pause * 2, self._longest)
        return pause

    def succeeded(self) -> None:
        """Forget all failures."""
        self._pause = self._first
        self._until = None

    def waiting(self, now: float) -> bool:
        """Whether it is too early for another attempt."""
        return self._until is not None and now < self._until
