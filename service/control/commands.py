"""Commands: what a person asks of one model. Refused by no guardrail, run between two rounds of the loop."""

from __future__ import annotations

from service.backends.protocol import BackendState
from service.control.actuator import Actuator
from service.control.feasible import check_supported
from service.control.journal import Journal
from service.control.node import Node, Order
from service.control.probation import Probation
from service.control.track import Track
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Reason
from service.domain.errors import BackendUnavailableError, InvalidValueError
from service.domain.serving_config import ServingConfig


class Commands:
    """Carries out a person's commands. Not safe for concurrent use: the caller holds the loop's lock.

    Args:
        node: What is in force.
        actuator: Carries out orders.
        journal: What is written down.
        track: The loop's memory.
        clock: Time.
    """

    def __init__(self, *, node: Node, actuator: Actuator, journal: Journal, track: Track, clock: Clock) -> None:
        self._node = node
        self._actuator = actuator
        self._journal = journal
        self._track = track
        self._clock = clock

    async def set_config(self, config: ServingConfig) -> Decision:
        """Put a person's choice in force; see Supervisor."""
        state = await self._look_first()
        check_supported(config, state.support, state.config)
        return await self._switch(state, config, Action.MANUAL, f"a person set {config.describe()}")

    async def rollback(self) -> Decision:
        """Return to the last known good; see Supervisor."""
        state = await self._look_first()
        good = self._track.last_known_good
        if good is None:
            raise InvalidValueError(
                "last_known_good",
                "there is none: no configuration has met the objective yet, so nothing was changed",
            )
        return await self._switch(state, good, Action.ROLLBACK, f"a person asked to return to {good.describe()}")

    async def skip_learning(self) -> Decision:
        """End the learning period; see Supervisor."""
        self._track.learnt = True
        return await self._actuator.hold(Reason.USER, "a person ended the learning period")

    def known(self) -> BackendState:
        """What is in force.

        Raises:
            BackendUnavailableError: It is not known.
        """
        if self._node.state is None:
            raise BackendUnavailableError(self._node.error or "the agent has not been asked yet; try again in a moment")
        return self._node.state

    async def _look_first(self) -> BackendState:
        await self._journal.flush()
        await self._actuator.look(even_if_resting=True)
        return self.known()

    async def _switch(self, state: BackendState, config: ServingConfig, action: Action, why: str) -> Decision:
        if config == state.config:
            return await self._actuator.hold(Reason.USER, f"{why}; it is in force already")
        judged = self._track.judged
        probation = Probation(
            config=config,
            since=self._clock.monotonic(),
            fallback=state.config,
            baseline=judged.window if judged else None,
            by_user=True,
        )
        order = Order(
            config=config, action=action, reason=Reason.USER, explanation=why, probation=probation, by_hand=True
        )
        return await self._actuator.carry_out(order)
