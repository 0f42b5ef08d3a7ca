"""Actuator: keeps what the loop believes to be in force equal to what is, and carries out orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from service.backends.protocol import BackendPhase, BackendState, CanaryState
from service.control.canary import Canary
from service.control.guardrails import hands_off
from service.control.journal import Journal
from service.control.node import Node, Order
from service.control.probation import Probation
from service.control.refusals import Refusals
from service.control.situation import Block, Permission
from service.control.spikes import SpikeMeter
from service.control.take_back import TakeBack, taken_back
from service.control.track import Track
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Reason
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    LeaseHeldError,
    StaleGenerationError,
    StoreError,
)
from service.domain.serving_config import ServingConfig
from service.store.records import StoredState
from service.telemetry.own_metrics import ControlMetrics
from service.telemetry.windows import WindowBuilder

log = structlog.get_logger(__name__)


class _HandsOffError(Exception):
    """A person withdrew the permission between the decision and the order."""

    def __init__(self, block: Block) -> None:
        super().__init__(block.explanation)
        self.block = block


class Actuator:
    """Looks, reconciles and acts for one model. Not safe for concurrent use.

    Args:
        model: Name of the model.
        node: Whom to ask.
        journal: What is written down.
        track: The loop's memory.
        windows: Begun anew when another configuration is in force.
        spikes: Told when a switch begins.
        permission: What is allowed at this moment; asked last before an automatic order is sent.
        refusals: Told of what the node would not or could not run.
        clock: Time.
        metrics: Told of rollbacks.
    """

    def __init__(
        self,
        model: str,
        *,
        node: Node,
        journal: Journal,
        track: Track,
        windows: WindowBuilder,
        spikes: SpikeMeter,
        permission: Callable[[], Permission],
        refusals: Refusals,
        clock: Clock,
        metrics: ControlMetrics,
    ) -> None:
        self._model = model
        self._node = node
        self._journal = journal
        self._track = track
        self._windows = windows
        self._spikes = spikes
        self._permission = permission
        self._refusals = refusals
        self._clock = clock
        self._metrics = metrics
        self._remembered: StoredState | None = None
        self._intent: Decision | None = None
        self._tried: tuple[int, ServingConfig] | None = None
        self._lost_before: ServingConfig | None = None

    def resume(self, remembered: StoredState | None) -> None:
        """Take over what an earlier run believed to be in force; the first look compares."""
        self._remembered = remembered
        self._intent = remembered.intent if remembered else None

    async def note(self, action: Action, reason: Reason, explanation: str, **more: Any) -> Decision:
        """Write down a decision about the configuration in force.

        Raises:
            StoreError: It could not be written.
        """
        return await self._journal.record(self.decision(action, reason, explanation, **more))

    def decision(self, action: Action, reason: Reason, explanation: str, **more: Any) -> Decision:
        """A decision about the configuration in force, not written down yet."""
        state = self._node.state
        more.setdefault("config_before", state.config if state else None)
        more.setdefault("config_after", state.config if state else None)
        return Decision(
            decided_at=self._clock.time(),
            model=self._model,
            mode=self._track.mode,
            action=action,
            reason=reason,
            explanation=explanation,
            generation=state.generation if state else None,
            **more,
        )

    async def hold(self, reason: Reason, explanation: str, **more: Any) -> Decision:
        """Write down why nothing is done."""
        return await self.note(Action.HOLD, reason, explanation, **more)

    async def look(self, *, even_if_resting: bool = False) -> bool:
        """Find out what is in force, and take it for the incumbent.

        Args:
            even_if_resting: Ask even an agent that failed just now: a person waits for the answer.

        Returns:
            Whether it is known and nothing is under way. Otherwise the hold has been written down.

        Raises:
            StoreError: What was found could not be written down.
        """
        if self._node.resting and not even_if_resting:
            return False
        was_silent = not self._node.reachable
        try:
            state = await self._node.look()
        except BackendUnavailableError as error:
            await self.hold(Reason.AGENT_UNREACHABLE, str(error))
            return False
        if was_silent:
            self._track.renew_probation(self._clock.monotonic())
        order = self._node.in_doubt
        if order is not None:
            arrived = self._node.became_of(order, state)
            if arrived is None:
                await self.hold(Reason.APPLY_FAILED, f"the node is still switching to {order.config.describe()}")
                return False
            self._node.in_doubt = None
            if arrived:
                await self._in_force(order, state)
                return True
            taken = await self._reconcile(state)
            if taken is None or taken.config != order.config:
                await self._lost(order)
            return False
        await self._reconcile(state)
        if state.phase is BackendPhase.SWITCHING:
            whose = "this service ordered before it ended" if self._intent else "somebody else ordered"
            await self.hold(Reason.APPLY_FAILED, f"the node is in the middle of a switch that {whose}")
            return False
        return True

    async def _lost(self, order: Order) -> None:
        """An order without an answer did not come into force: bad luck the first time, a bad configuration the next."""
        name = order.config.describe()
        held: dict[str, Any] = {}
        if order.config == self._lost_before:
            held = self._refusals.not_ready(order, "the agent failed to put it in force twice")
        self._lost_before = order.config
        why = f"{name} did not come into force; the configuration before has kept serving"
        await self.hold(Reason.APPLY_FAILED, why, inputs=held)

    async def _reconcile(self, state: BackendState) -> TakeBack | None:
        """Believe the node; returns what it has taken back by itself since it was last seen."""
        known, taken = self._node.state, self._taken_back(state)
        self._node.accept(state)
        if taken is not None:
            await self._took_back(taken, state, known)
        elif known is None:
            await self._reconcile_with_history(state)
        elif known.config != state.config and await self._complete(state):
            self._windows.restart("switch")
            await self.remember()
        elif known.config != state.config:
            # A generation that grew was written by somebody; one that did not is a server that started afresh.
            somebody = state.generation > known.generation
            self._windows.restart("configuration changed outside")
            self._track.changed(self._clock.monotonic(), by_user=somebody, probation=None)
            await self.remember()
            who = "somebody else put it in force" if somebody else "the server started anew with it"
            await self.hold(
                Reason.CONFIG_CHANGED_OUTSIDE,
                f"found {state.config.describe()} in force instead of {known.config.describe()}: {who}",
                config_before=known.config,
            )
        else:
            await self.remember()
        return taken

    def _taken_back(self, state: BackendState) -> TakeBack | None:
        # A number that was seen before, by an earlier run too, has been told of.
        remembered = self._remembered.generation if self._remembered else None
        seen = self._node.state.generation if self._node.state else remembered
        return taken_back(state) if seen != state.generation else None

    async def _took_back(self, taken: TakeBack, state: BackendState, known: BackendState | None) -> None:
        track, before = self._track, known.config if known else self._remembered and self._remembered.incumbent
        probation = track.probation if track.probation and track.probation.config == state.config else None
        by_user = track.chosen_by_user and before == state.config
        self._windows.restart("taken back")
        track.changed(self._clock.monotonic(), by_user=by_user, probation=probation)
        held, found = self._refusals.taken_back(taken)
        await self.remember()
        await self.hold(Reason.INFEASIBLE, found, config_before=taken.config, inputs=held)

    async def _reconcile_with_history(self, state: BackendState) -> None:
        before = self._remembered.incumbent if self._remembered else None
        if self._track.probation is not None and self._track.probation.config != state.config:
            self._track.probation = None
        completed = await self._complete(state)
        if before is not None and before != state.config and not completed:
            somebody = state.generation > (self._remembered.generation or 0) if self._remembered else False
            self._track.changed(self._clock.monotonic(), by_user=somebody, probation=None)
        await self.remember()
        if before is None:
            why = "first look at this node"
        elif before == state.config:
            why = "as the history has it"
        else:
            why = f"the history has {before.describe()}; it was changed while nobody looked on"
        await self.hold(Reason.RECONCILED, f"found {state.config.describe()} in force: {why}", config_before=before)

    async def _complete(self, state: BackendState) -> bool:
        """Write down a change that came into force when nobody lived to do so; it is on probation from now."""
        intent = self._intent
        if intent is None or intent.config_before is None or intent.config_after != state.config:
            return False
        if intent.generation != state.generation:
            return False
        self._intent = None
        now = self._clock.monotonic()
        before = self._track.measured.get(intent.config_before)
        by_hand = intent.action is Action.MANUAL or intent.reason is Reason.USER
        probation = Probation(
            config=state.config,
            since=now,
            fallback=intent.config_before,
            baseline=before[1].window if before else None,
            by_user=by_hand,
            promised=intent.recommendation.predicted_tail if intent.recommendation else None,
        )
        known_good = intent.action is Action.ROLLBACK and not by_hand
        self._track.changed(now, by_user=by_hand, probation=None if known_good else probation)
        self._track.spend_switches([now], now)
        why = f"{intent.explanation}; found done: the service ended before it could say so"
        await self._journal.record(replace(intent, explanation=why))
        return True

    async def carry_out(self, order: Order) -> Decision:
        """Put an order in force and write it down.

        Raises:
            StoreError: The history cannot be written, so nothing was ordered.
            StaleGenerationError, InfeasibleConfigError, LeaseHeldError, ApplyTimeoutError: It is not in force.
            BackendUnavailableError: It may be in force; the next look tells.
        """
        incumbent = self._node.state
        if incumbent is None or self._node.in_doubt is not None:
            raise BackendUnavailableError(self._node.error or "an earlier change is still under way; ask again later")
        await self._journal.prove_writable((incumbent.config, incumbent.generation))
        generation = incumbent.generation + 1
        await self._journal.intend(self._decision_of(order, incumbent.config, order.config, generation))
        if not order.by_hand and (block := hands_off(self._permission())) is not None:
            raise _HandsOffError(block)
        self._spikes.begin(self._clock.monotonic())
        self._intent = None
        if order.canary:
            self._tried = (generation, order.config)
        state = await self._node.send(order, generation)
        return await (self._tried_out(order, state) if order.canary else self._in_force(order, state))

    async def _tried_out(self, order: Order, state: BackendState) -> Decision:
        now = self._clock.monotonic()
        self._node.accept(state)
        self._windows.start_next()
        self._track.canary = Canary(order=order, generation=state.generation + 1, since=now)
        why = f"one process tries {order.config.describe()} out first: {order.explanation}"
        return await self.hold(Reason.CANARY, why, recommendation=order.recommendation, inputs=order.inputs)

    def ordered_trial(self, found: CanaryState) -> bool:
        """Whether it was this service, perhaps before it was started anew, that had something tried out."""
        intent = self._intent
        before = None if intent is None else (intent.generation, intent.config_after)
        return (found.generation, found.config) in (self._tried, before)

    async def attempt(self, order: Order) -> Decision | None:
        """Carry out an order of the loop's own; what goes wrong becomes a hold.

        Returns:
            The decision; None when nothing was changed, or nothing is known to have been.

        Raises:
            StoreError: The history cannot be written.
        """
        name = order.config.describe()
        try:
            return await self.carry_out(order)
        except _HandsOffError as error:
            await self.hold(error.block.reason, f"{name}: {error.block.explanation}", inputs=order.inputs)
        except InfeasibleConfigError as error:
            held, until = self._refusals.cannot_run(order, why := f"the node cannot run it ({error})")
            await self.hold(Reason.INFEASIBLE, f"{name}: {why}; {until}", inputs=held)
        except ApplyTimeoutError as error:
            why = f"it was not ready in time ({error})"
            held = self._refusals.not_ready(order, why)
            kept = f"{name}: {why}; the configuration before has kept serving"
            await self.hold(Reason.APPLY_FAILED, kept, inputs=held)
        except StaleGenerationError as error:
            before = self._node.state
            if await self.look() and before and self._node.state and self._node.state.config == before.config:
                await self.hold(Reason.APPLY_FAILED, f"{name} was refused: {error}")
        except LeaseHeldError as error:
            block = Block(reason=Reason.LEASE_HELD, explanation=f"{name} was refused: {_lease(error)}")
            self._track.asked_at, self._track.answer = self._clock.monotonic(), block
            await self.hold(block.reason, block.explanation)
        except BackendUnavailableError as error:
            await self.hold(Reason.AGENT_UNREACHABLE, f"{name} may or may not be in force: {error}")
        return None

    async def _in_force(self, order: Order, state: BackendState) -> Decision:
        before = self._node.state.config if self._node.state else None
        now = self._clock.monotonic()
        self._node.accept(state)
        self._windows.restart("switch")
        by_user = order.action is Action.MANUAL or order.reason is Reason.USER
        # A switch may take minutes: the time in which it must be verified begins when it is over.
        probation = replace(order.probation, since=now) if order.probation is not None else None
        self._track.changed(now, by_user=by_user, probation=probation)
        self._track.spend_switches([now], now)
        self._track.way_back.arrived(state.config)
        if order.action is Action.ROLLBACK:
            self._metrics.rolled_back(self._model, order.reason.value)
        explanation, inputs = order.explanation, dict(order.inputs)
        if state.config != order.config:
            explanation += f"; the node made it {state.config.describe()}"
            held, _ = self._refusals.cannot_run(order, "the node ran something else instead")
            inputs |= held
        order = replace(order, explanation=explanation, inputs=inputs)
        decision = self._decision_of(order, before, state.config, state.generation)
        log.info(
            "in force", model=self._model, config=state.config.describe(), generation=state.generation, why=explanation
        )
        try:
            decision = await self._journal.record(decision)
            await self.remember()
        except StoreError as error:
            # It is done and cannot be undone by complaining: the journal writes it before anything else is done.
            log.error("done but not yet written to the history", model=self._model, error=str(error))
        return decision

    def _decision_of(
        self, order: Order, before: ServingConfig | None, after: ServingConfig, generation: int
    ) -> Decision:
        return Decision(
            decided_at=self._clock.time(),
            model=self._model,
            mode=self._track.mode,
            action=order.action,
            reason=order.reason,
            explanation=order.explanation,
            config_before=before,
            config_after=after,
            generation=generation,
            recommendation=order.recommendation,
            inputs=order.inputs,
        )

    async def remember(self) -> None:
        """Write down what is in force and what was last good, where that is news.

        Raises:
            StoreError: It could not be written.
        """
        state = self._node.state
        if state is not None:
            await self._journal.remember((state.config, state.generation), self._track.last_known_good)


def _lease(error: LeaseHeldError) -> str:
    until = dt.datetime.fromtimestamp(error.expires, dt.UTC) if error.expires is not None else None
    lasting = f", until {until:%H:%M:%S} UTC unless it is renewed" if until else ""
    return f"another control service ({error.holder}) steers this node{lasting}"
