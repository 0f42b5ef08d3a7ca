"""Lease: of several controllers of one node, one writes.

Whoever changes the configuration under a name holds the lease, and keeps it by looking or changing again. It runs out
by itself, so a controller that died is succeeded. Looking alone never takes it: those that only watch stay harmless.
While an order of the holder's is being carried out it does not run out: who waits for the answer gives no sign.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.domain.clock import Clock
from service.domain.errors import LeaseHeldError

#: How long a lease lasts beyond the last sign of its holder, seconds. Controllers look every few seconds.
TTL_SECONDS = 60.0

#: Who holds the lease after somebody without a name forced a change: the others keep off as long as after any other.
SOMEBODY = "somebody by force"


@dataclass(frozen=True, slots=True)
class Lease:
    """Who writes.

    Attributes:
        holder: Its name.
        since: When it began to hold it, Unix time.
        expires: When it will have run out unless it is renewed, Unix time.
    """

    holder: str
    since: float
    expires: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"holder": self.holder, "since": self.since, "expires": self.expires}


class LeaseBook:
    """The lease of one node. Not thread-safe. Forgotten with the agent: the next one gives it to who comes first.

    Args:
        clock: Its monotonic time decides; its Unix time is only told.
        ttl_seconds: How long a lease lasts without a sign of its holder.
    """

    def __init__(self, clock: Clock, ttl_seconds: float = TTL_SECONDS) -> None:
        self._clock = clock
        self._ttl = ttl_seconds
        self._holder: str | None = None
        self._since = 0.0
        self._ends = 0.0
        self._orders: Counter[str] = Counter()  # being carried out, by who gave them

    @property
    def lease(self) -> Lease | None:
        """The lease as it stands; None while nobody holds it."""
        if self._holder is None:
            return None
        left = self._ttl if self._orders[self._holder] else self._ends - self._clock.monotonic()
        if left <= 0:
            return None
        return Lease(self._holder, self._since, self._clock.time() + left)

    def seen(self, controller: str | None) -> None:
        """A controller has given a sign of life: the holder's lease begins anew."""
        lease = self.lease
        if lease is not None and lease.holder == controller:
            self._ends = self._clock.monotonic() + self._ttl

    @contextlib.contextmanager
    def claimed(self, controller: str | None, *, force: bool = False) -> Iterator[None]:
        """For the length of a change. Without a name it needs the lease to be free, and does not take it.

        The lease does not run out before the change has ended, unless it is given back or taken by force.

        Args:
            controller: Who wants to change; None for somebody without a name.
            force: Take the lease, whoever holds it.

        Raises:
            LeaseHeldError: Another holds it.
        """
        lease = self.lease
        if lease is not None and lease.holder != controller and not force:
            raise LeaseHeldError(lease.holder, lease.since, lease.expires)
        holder = controller or (SOMEBODY if force else None)
        if holder is None:
            yield
            return
        if lease is None or lease.holder != holder:
            self._holder, self._since = holder, self._clock.time()
        self._orders[holder] += 1
        try:
            yield
        finally:
            self._orders[holder] -= 1
            if not self._orders[holder]:
                del self._orders[holder]  # names change with every start of a controller
            if self._holder == holder:
                self._ends = self._clock.monotonic() + self._ttl

    def release(self, controller: str | None) -> None:
        """The holder needs it no longer; nothing happens where another holds it."""
        if controller is not None and self._holder == controller:
            self._holder = None
