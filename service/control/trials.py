"""Trials: the loop's part in having one server process try a configuration out before the others follow.

A trial is begun by an order of the loop's own (see Actuator), attended to in each round instead of judging windows,
which would mix two configurations, and ended here: the rest follows, or it is withdrawn. One that is found running and
is not known, because the service was started anew meanwhile or its order had no answer, is withdrawn as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from service.backends.protocol import CanaryState
from service.control.actuator import Actuator
from service.control.canary import Canary, Finding, Outcome, compare, inputs_of
from service.control.guardrails import hands_off
from service.control.node import Node
from service.control.refusals import Refusals
from service.control.settings import LoopSettings
from service.control.sight import Sight
from service.control.situation import Permission
from service.control.track import Track
from service.domain.clock import Clock
from service.domain.decision import Reason
from service.domain.errors import BackendUnavailableError, LeaseHeldError
from service.domain.window import Window


class Trials:
    """Attends to the trial of one model. Not safe for concurrent use.

    Args:
        node: Where it takes place.
        actuator: Carries out what follows.
        refusals: Told of what did worse.
        track: Holds what is tried out.
        sight: What is seen of it.
        permission: What a person allows at this moment.
        settings: How long it may take.
        clock: Time.
    """

    def __init__(
        self,
        *,
        node: Node,
        actuator: Actuator,
        refusals: Refusals,
        track: Track,
        sight: Sight,
        permission: Callable[[], Permission],
        settings: LoopSettings,
        clock: Clock,
    ) -> None:
        self._node = node
        self._actuator = actuator
        self._refusals = refusals
        self._track = track
        self._sight = sight
        self._permission = permission
        self._settings = settings
        self._clock = clock

    async def attend(self) -> bool:
        """Do what is to be done about the trial; returns whether there is, or was, one, and so nothing to be judged.

        Raises:
            StoreError: The history cannot be written.
        """
        canary, found = self._track.canary, self._node.state.canary if self._node.state else None
        running = found if found is not None and found.ended is None else None
        if canary is None:
            self._sight.trial(on=False)
            return await self._stray(running) if running is not None else False
        self._sight.trial(on=True)
        name = canary.order.config.describe()
        if not _is(canary, found):
            await self._lost(canary, found)
        elif (block := hands_off(self._permission())) is not None:
            await self._withdraw(block.reason, f"{name} is withdrawn: {block.explanation}")
        elif (missing := self._sight.missing) is not None:
            await self._withdraw(Reason.METRICS_MISSING, f"{name} is withdrawn: {missing}")
        else:
            others = canary.order.config.instances - 1
            seen, elapsed = self._sight.beside, self._clock.monotonic() - canary.since
            await self._act(canary, compare(seen, others, elapsed, self._track.slo, self._settings), seen)
        return True

    async def _act(self, canary: Canary, finding: Finding, seen: tuple[Window, Window] | None) -> None:
        name, found = canary.order.config.describe(), finding.explanation
        if finding.outcome is Outcome.WAIT:
            await self._actuator.hold(Reason.CANARY, f"one process tries {name} out: {found}")
            return
        inputs = inputs_of(seen, finding)
        if finding.outcome is Outcome.GIVE_UP:
            await self._withdraw(Reason.NO_TRAFFIC, f"{name} is withdrawn: {found}", inputs)
        elif finding.outcome is Outcome.WITHDRAW:
            await self._withdraw(Reason.CANARY_WORSE, f"{name} is withdrawn: {found}", inputs, canary)
        else:
            await self._follow(canary, found, inputs)

    async def _follow(self, canary: Canary, found: str, inputs: dict[str, Any]) -> None:
        """Have the rest follow, unless the canary is gone.

        What was last seen of the node is seconds old, and a canary that has died since shows in no metric: it answers
        no more, and neither do those that it is held against. Its order would be put in force like any other.
        """
        if not await self._actuator.look() or self._track.canary is not canary:
            return
        state = self._node.state.canary if self._node.state else None
        if not _is(canary, state):
            await self._lost(canary, state)
            return
        order = canary.order
        why = f"{order.explanation}; tried out by one process: {found}"
        self._over()
        await self._actuator.attempt(replace(order, canary=False, explanation=why, inputs={**order.inputs, **inputs}))

    async def _lost(self, canary: Canary, found: CanaryState | None) -> None:
        """The node has put an end to it."""
        self._over(in_vain=True)
        name = canary.order.config.describe()
        if found is not None and found.generation == canary.generation and found.ended is not None:
            why = f"the node withdrew it: {found.ended}"
            held = self._refusals.quarantine(canary.order.config, Reason.CANARY_WORSE, why)
            await self._actuator.hold(Reason.CANARY_WORSE, f"{name}: {why}", inputs=held)
        else:
            await self._actuator.hold(Reason.APPLY_FAILED, f"{name} is tried out no more: the node knows nothing of it")

    async def _stray(self, running: CanaryState) -> bool:
        name = running.config.describe()
        if not self._actuator.ordered_trial(running):
            why = f"somebody else has one process try {name} out; nothing is judged or changed until that is over"
            await self._actuator.hold(Reason.CONFIG_CHANGED_OUTSIDE, why)
            return True
        why = "this service ordered it and was started anew, or had no answer, so it does not know how it began"
        return await self._withdraw(Reason.CANARY, f"{name}, which one process tried out, is withdrawn: {why}")

    async def _withdraw(
        self, reason: Reason, why: str, inputs: dict[str, Any] | None = None, blamed: Canary | None = None
    ) -> bool:
        """Withdraw it, and say why.

        Where the node does not answer the next round tries again, and in the end the node does it by itself.
        """
        try:
            await self._node.withdraw()
        except (BackendUnavailableError, LeaseHeldError) as error:
            unsaid = Reason.LEASE_HELD if isinstance(error, LeaseHeldError) else Reason.AGENT_UNREACHABLE
            await self._actuator.hold(unsaid, f"{why}; the node has not done it yet: {error}")
            return True
        self._over(in_vain=True)
        held = self._refusals.quarantine(blamed.order.config, reason, why) if blamed is not None else {}
        await self._actuator.hold(reason, why, inputs={**(inputs or {}), **held})
        return True

    def _over(self, *, in_vain: bool = False) -> None:
        """It is over. What clients felt of it counts, but says nothing of any one configuration.

        One that was in vain cost a new process and a share of the requests like a switch, and is counted as one.
        """
        track, windows = self._track, self._sight.windows
        track.canary = None
        self._sight.trial(on=False)
        window, now = windows.current(), self._clock.monotonic()
        if window is not None:
            requests = window.succeeded + window.rejected + window.failed
            track.budget.add(now, window.duration_seconds, requests, window.violation_ratio(track.slo))
        windows.restart("a trial is over")
        track.waiting_since = now
        track.renew_probation(now)
        if in_vain:
            track.switched_at = now
            track.spend_switches([now], now)


def _is(canary: Canary, found: CanaryState | None) -> bool:
    """Whether what the node tries out, still, is this."""
    if found is None or found.ended is not None:
        return False
    return (found.generation, found.config) == (canary.generation, canary.order.config)
