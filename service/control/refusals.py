"""Refusals: what is not tried again for a while because a node would not or could not run it, and how that is said."""

from __future__ import annotations

from typing import Any

from service.control.node import Order
from service.control.settings import LoopSettings
from service.control.situation import INFEASIBLE_SECONDS, Quarantine
from service.control.take_back import TakeBack
from service.control.track import Track
from service.domain.clock import Clock
from service.domain.decision import Action, Reason
from service.domain.serving_config import ServingConfig


class Refusals:
    """Keeps one model from trying again at once what has just failed.

    What is returned to was in force before and is not given up because the node has a bad moment: it is never put in
    quarantine for being refused, only asked for again later.

    Args:
        track: Where it is kept.
        settings: How long a failed configuration is not tried again.
        clock: Time.
    """

    def __init__(self, track: Track, settings: LoopSettings, clock: Clock) -> None:
        self._track = track
        self._settings = settings
        self._clock = clock

    def cannot_run(self, order: Order, why: str) -> tuple[dict[str, Any], str]:
        """The node says that it cannot run it; returns what a decision says of it, and for people what follows."""
        if order.action is Action.ROLLBACK:
            pause = self._track.way_back.refused(order.config, self._clock.monotonic())
            return {}, f"it is what is returned to, so it is not given up, and asked for again in {pause:.0f} s"
        held = self._quarantine(order.config, INFEASIBLE_SECONDS, Reason.INFEASIBLE, why)
        return held, "it will not be tried again for a day"

    def taken_back(self, taken: TakeBack) -> tuple[dict[str, Any], str]:
        """The node ran it until it had crashed too often; returns what a decision says of it, and for people why."""
        why = f"the node took it back, because its servers crashed again and again ({taken.why})"
        held = self._quarantine(taken.config, INFEASIBLE_SECONDS, Reason.INFEASIBLE, why)
        return held, f"{taken.config.describe()}: {why}; it will not be tried again for a day"

    def not_ready(self, order: Order, why: str) -> dict[str, Any]:
        """It was not ready in time, or never; returns what a decision says of it."""
        if order.action is Action.ROLLBACK:
            return {}
        return self.quarantine(order.config, Reason.APPLY_FAILED, why)

    def quarantine(self, config: ServingConfig, reason: Reason, explanation: str) -> dict[str, Any]:
        """Do not try a configuration again for a while; returns what a decision says of it."""
        return self._quarantine(config, self._settings.quarantine_seconds, reason, explanation)

    def _quarantine(self, config: ServingConfig, seconds: float, reason: Reason, explanation: str) -> dict[str, Any]:
        until = self._clock.monotonic() + seconds
        self._track.put_in_quarantine(config, Quarantine(until=until, reason=reason, explanation=explanation))
        return {"quarantine": {"config": config.to_dict(), "seconds": seconds, "explanation": explanation}}
