"""Node: asking one agent and ordering from it, with pauses that grow while it does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from service.backends.protocol import Backend, BackendPhase, BackendState, TriesOut
from service.control.probation import Probation
from service.control.settings import LoopSettings
from service.domain.backoff import Backoff
from service.domain.clock import Clock
from service.domain.decision import Action, Reason, Recommendation
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    LeaseHeldError,
    StaleGenerationError,
)
from service.domain.serving_config import ServingConfig
from service.telemetry.own_metrics import ControlMetrics

_KINDS = {Action.APPLY: "auto", Action.ROLLBACK: "rollback", Action.MANUAL: "manual"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A configuration to be put in force, and what is written down once it is.

    Attributes:
        config: What to put in force.
        action: What it is: an application, a rollback, a person's command.
        reason: Why, as a code.
        explanation: Why, as a sentence.
        recommendation: What the policy said, where it was asked.
        inputs: What else went in, JSON-ready.
        probation: The probation that begins then; None for a return to what is known.
        by_hand: Whether a person commanded it; guardrails stop only what is automatic.
        canary: Whether one of several server processes is to try it out first.
    """

    config: ServingConfig
    action: Action
    reason: Reason
    explanation: str
    recommendation: Recommendation | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    probation: Probation | None = None
    by_hand: bool = False
    canary: bool = False


class Node:
    """One node, as last seen. Not safe for concurrent use.

    An order without an answer stays ``in_doubt`` until a look shows what became of it; nothing else is ordered
    meanwhile.

    Args:
        model: Name of the model, for metrics.
        backend: Where to ask.
        settings: Intervals and pauses.
        clock: Time.
        metrics: Told of every order.
    """

    def __init__(
        self, model: str, backend: Backend, settings: LoopSettings, clock: Clock, metrics: ControlMetrics
    ) -> None:
        self._model = model
        self._backend = backend
        self._clock = clock
        self._metrics = metrics
        self._interval = settings.agent_read_interval_seconds
        self._backoff = Backoff(settings.scrape_interval_seconds, settings.max_backoff_seconds)
        self._looked_at: float | None = None
        self._doubtful_generation = 0
        self.state: BackendState | None = None
        """The last answer that was accepted; None before the first."""
        self.in_doubt: Order | None = None
        self.in_force_since: float | None = None
        """Unix time, seconds."""
        self.error: str | None = None
        """Why the last call had no answer; None when it had one."""

    @property
    def looked(self) -> bool:
        """Whether the agent was ever asked, with or without success."""
        return self._looked_at is not None

    @property
    def reachable(self) -> bool:
        """Whether the last call had an answer."""
        return self.looked and self.error is None

    @property
    def resting(self) -> bool:
        """Whether it failed so recently that it is left alone."""
        return self._backoff.waiting(self._clock.monotonic())

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        if self.state is None or self._looked_at is None or not self.reachable or self.in_doubt is not None:
            return True
        if self.state.phase is BackendPhase.SWITCHING:
            return True
        return self._clock.monotonic() - self._looked_at >= self._interval

    async def look(self) -> BackendState:
        """Ask what is in force. ``state`` keeps the earlier answer until :meth:`accept`.

        Raises:
            BackendUnavailableError: No (readable) answer.
        """
        try:
            state = await self._backend.read()
        except BackendUnavailableError as error:
            self._failed(error)
            raise
        finally:
            self._looked_at = self._clock.monotonic()
        self._answered()
        return state

    def accept(self, state: BackendState) -> None:
        """Take an answer as what is in force now."""
        if self.state is None or state.config != self.state.config:
            self.in_force_since = self._clock.time()
            self._metrics.configuration(self._model, state.config)
        self.state = state

    async def send(self, order: Order, generation: int) -> BackendState:
        """Put an order in force.

        It is in doubt from before it is sent until it is answered, so that even a cancelled call leaves no order that
        nobody asks after.

        Raises:
            StaleGenerationError, InfeasibleConfigError, LeaseHeldError, ApplyTimeoutError: It is not in force.
            BackendUnavailableError: It may be in force.
        """
        self.in_doubt, self._doubtful_generation = order, generation
        started = self._clock.monotonic()
        outcome = "failed"
        try:
            if order.canary and isinstance(self._backend, TriesOut):
                state = await self._backend.try_out(order.config, generation)
            else:
                state = await self._backend.apply(order.config, generation)
            outcome = "ok"
        except BackendUnavailableError as error:
            self._failed(error)
            raise
        except ApplyTimeoutError:
            outcome, self.in_doubt = "timeout", None
            raise
        except (InfeasibleConfigError, StaleGenerationError, LeaseHeldError):
            outcome, self.in_doubt = "refused", None
            raise
        finally:
            seconds = self._clock.monotonic() - started
            kind = "canary" if order.canary else _KINDS[order.action]
            self._metrics.reconfigured(self._model, kind, outcome, seconds)
        self.in_doubt = None
        self._answered()
        return state

    def can_try_out(self, config: ServingConfig) -> bool:
        """Whether one of several server processes can run a configuration while the others go on as they are."""
        state = self.state
        if state is None or not state.support.canary or not isinstance(self._backend, TriesOut):
            return False
        return state.config.instances == config.instances > 1

    async def withdraw(self) -> None:
        """Put an end to what one process tries out.

        Raises:
            LeaseHeldError: Another controller writes to this node.
            BackendUnavailableError: It may go on.
        """
        if not isinstance(self._backend, TriesOut):
            return
        try:
            await self._backend.withdraw()
        except BackendUnavailableError as error:
            self._failed(error)
            raise
        self._answered()
        if self.state is not None:
            self.state = replace(self.state, canary=None)

    def became_of(self, order: Order, state: BackendState) -> bool | None:
        """What a later look shows of the order in doubt: in force, not, or (None) still under way."""
        if state.config == order.config and state.generation == self._doubtful_generation:
            return True
        return None if state.phase is BackendPhase.SWITCHING else False

    def _failed(self, error: BackendUnavailableError) -> None:
        self.error = str(error)
        self._backoff.failed(self._clock.monotonic())

    def _answered(self) -> None:
        self.error = None
        self._backoff.succeeded()
