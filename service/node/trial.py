"""Trials: a configuration is tried out by one process, for a while: until it comes into force, is withdrawn, or dies.

Whoever ordered a trial is to end it. Should nobody do so, it ends by itself, as a lease does.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from service.domain.clock import Clock
from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.changes import Changes
from service.node.errors import TooFewError
from service.node.files import Ledger
from service.node.state import ServerRecord

_log = logging.getLogger(__name__)

#: How a trial ends.
PROMOTED, WITHDRAWN, DIED, EXPIRED = "promoted", "withdrawn", "died", "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A configuration that is, or was, tried out.

    Attributes:
        generation: The number under which it was to come into force.
        config: The configuration.
        ended: Why it is not tried out any more; None while it is.
    """

    generation: int
    config: ServingConfig
    ended: str | None = None


class Trials:
    """One trial at a time. What is not marked otherwise is called by whoever holds the turn.

    Args:
        changes: Starts and ends the process.
        ledger: What is.
        turn: Held by whoever changes something.
        clock: Time.
        longest_seconds: A trial that nobody has ended by then is withdrawn.
        registry: For the node's own metrics.
    """

    def __init__(
        self,
        changes: Changes,
        ledger: Ledger,
        turn: asyncio.Lock,
        clock: Clock,
        longest_seconds: float,
        registry: CollectorRegistry,
    ) -> None:
        self._changes = changes
        self._ledger = ledger
        self._turn = turn
        self._clock = clock
        self._longest_seconds = longest_seconds
        self._last: Trial | None = None
        self._timer: asyncio.Task[None] | None = None
        self._outcomes = Counter(
            "regulus_node_canaries", "Configurations that one process tried out", ["outcome"], registry=registry
        )
        for outcome in (PROMOTED, WITHDRAWN, DIED, EXPIRED):
            self._outcomes.labels(outcome=outcome)

    @property
    def last(self) -> Trial | None:
        """The trial that runs, or the one before if it did not come into force. May be asked at any time."""
        canary = self._ledger.state.canary
        return Trial(generation=canary.generation, config=canary.config) if canary is not None else self._last

    async def begin(self, config: ServingConfig, generation: int) -> None:
        """Have one process try a configuration out; returns when it has its share of the requests.

        Raises:
            InfeasibleConfigError: There is to be one process only, or another number of them.
            TooFewError: One of two has ended and is being started again.
            NodeError: It did not come up, and nothing of it is left.
        """
        instances = self._ledger.state.config.instances
        if config.instances != instances or instances < 2:
            raise InfeasibleConfigError(
                "instances", f"must stay as it is, {instances}, and be at least two, for one to try something"
            )
        serving = len(self._ledger.state.serving)
        if serving < 2:
            raise TooFewError(f"{serving} of {instances} server processes serve at the moment; one alone tries nothing")
        self._last = None
        server = await self._changes.try_out(config, generation)
        _log.info("process %d tries out generation %d: %s", server.pid, generation, config.describe())
        self._timer = asyncio.create_task(self._expire(generation))

    async def end(self, why: str, outcome: str = WITHDRAWN) -> None:
        """Withdraw what is tried out, if anything is; returns when it gets nothing new."""
        trial = self.last
        if trial is None or trial.ended is not None:
            return
        _log.info("generation %d is withdrawn: %s", trial.generation, why)
        self._over(Trial(generation=trial.generation, config=trial.config, ended=why), outcome)
        await self._changes.withdraw()

    def promoted(self) -> None:
        """What was tried out is in force."""
        self._over(None, PROMOTED)

    async def died(self, server: ServerRecord, last_words: str) -> bool:
        """A process has ended by itself; returns whether it was the one that tried something out. Takes the turn."""
        async with self._turn:
            canary = self._ledger.state.canary
            if canary is None or canary.server != server:
                return False
            why = f"its process ended by itself: {last_words}".removesuffix(": ")
            self._over(Trial(generation=canary.generation, config=canary.config, ended=why), DIED)
            await self._changes.forget_canary()
            return True

    def stop(self) -> None:
        """Let nothing happen by itself any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _over(self, last: Trial | None, outcome: str) -> None:
        self._last = last
        self._outcomes.labels(outcome=outcome).inc()
        if self._timer is not None and self._timer is not asyncio.current_task():
            self._timer.cancel()
        self._timer = None

    async def _expire(self, generation: int) -> None:
        await self._clock.sleep(self._longest_seconds)
        async with self._turn:
            canary = self._ledger.state.canary
            if canary is not None and canary.generation == generation:
                await self.end(f"nobody decided on it within {self._longest_seconds:g} s", EXPIRED)
