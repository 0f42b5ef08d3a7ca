"""Pilot: from a judged window to what is done about it: learn, verify the last switch, decide on the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service.control.actuator import Actuator
from service.control.guardrails import Situation, before_asking, check_choice
from service.control.judge import Judgement, same_load
from service.control.learner import Learner
from service.control.node import Node, Order
from service.control.probation import Outcome, Probation, Ruling, rule
from service.control.settings import LoopSettings
from service.control.track import Track
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Action, Intent, Mode, Reason, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict
from service.store.store import Store
from service.telemetry.own_metrics import ControlMetrics


class Pilot:
    """Decides for one model. Not safe for concurrent use.

    Args:
        model: Name of the model.
        node: What is in force.
        actuator: Carries out orders.
        learner: The policy.
        track: The loop's memory.
        store: Where observations are kept.
        settings: How to verify and decide.
        clock: Time.
        metrics: Told of windows and recommendations.
        workers: Threads to write in.
    """

    def __init__(
        self,
        model: str,
        *,
        node: Node,
        actuator: Actuator,
        learner: Learner,
        track: Track,
        store: Store,
        settings: LoopSettings,
        clock: Clock,
        metrics: ControlMetrics,
        workers: Workers,
    ) -> None:
        self._model = model
        self._node = node
        self._actuator = actuator
        self._learner = learner
        self._track = track
        self._store = store
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._workers = workers

    async def act_on(self, judgement: Judgement, incumbent: ServingConfig) -> None:
        """Learn from a judged window and do what follows from it.

        Args:
            judgement: Of a window that was measured under ``incumbent`` throughout.
            incumbent: In force.

        Raises:
            StoreError: The history cannot be written, so nothing was changed.
        """
        track, window = self._track, judgement.window
        await self._workers.store(self._store.add_observation, self._model, window.workload, incumbent, window)
        await self._learner.observe(window.workload, incumbent, window)
        self._metrics.window(self._model, window)
        before, track.judged = track.judged, judgement
        load_changed = before is not None and not same_load(before.window, window, self._settings)
        probation = track.probation
        ruling = rule(probation, judgement, track.slo, self._settings) if probation else None
        failed = await self._verify(probation, ruling) if probation and ruling else None
        if judgement.verdict is SloVerdict.MET and failed is None:
            track.last_known_good = incumbent
            await self._actuator.remember()
        situation = self._situation(
            judgement,
            incumbent,
            load_changed=load_changed,
            first_violation=probation is None and before is not None and before.met and not load_changed,
        )
        if failed is None or ruling is None:
            await self._decide(situation, None)
        elif ruling.outcome is Outcome.RETURN or not await self._decide(situation, failed):
            await self._go_back(failed, ruling)

    async def _verify(self, probation: Probation, ruling: Ruling) -> Probation | None:
        """Write down how a probation ended; returns it when it failed and may be undone."""
        if ruling.outcome is Outcome.KEEP:
            kept = f"kept {probation.config.describe()}: {ruling.explanation}"
            await self._actuator.note(Action.VERIFY, Reason.VERIFIED, kept)
            self._track.probation = None
            return None
        if self._track.mode is Mode.AUTO and not probation.by_user:
            return probation
        who = "a person chose it" if probation.by_user else f"the mode is {self._track.mode.value}"
        await self._actuator.hold(Reason.WORSE_THAN_BEFORE, f"{ruling.explanation}; not undone, because {who}")
        self._track.probation = None
        return None

    async def _go_back(self, failed: Probation, ruling: Ruling) -> None:
        names = f"{failed.config.describe()} to {failed.fallback.describe()}"
        order = Order(
            config=failed.fallback,
            action=Action.ROLLBACK,
            reason=Reason.WORSE_THAN_BEFORE,
            explanation=f"back from {names}: {ruling.explanation}",
        )
        await self._actuator.attempt(order)
        if failed.fallback in self._track.quarantine:
            # The node cannot run it any more, so there is no way back. What failed otherwise stays on probation, and
            # the next window leads here again.
            self._track.probation = None

    async def _decide(self, situation: Situation, failed: Probation | None) -> bool:
        """Ask the policy and do what it says, as far as the guardrails allow.

        Args:
            situation: As it is now.
            failed: A failed probation: its fallback is no new choice, and stays the place to return to.

        Returns:
            Whether something was ordered that is, or may be, in force now.
        """
        judgement, incumbent = situation.judgement, situation.incumbent
        actuator, slo = self._actuator, self._track.slo
        inputs: dict[str, Any] = {"window": judgement.describe(slo), "verdict": judgement.verdict.value}
        block = before_asking(situation)
        if block is not None:
            await actuator.hold(block.reason, block.explanation, inputs=inputs)
            return False
        while self._track.untaught:
            await self._learner.learn_failure(judgement.window, self._track.untaught.pop())
        for explore in (True, False) if situation.may_explore else (False,):
            choice = await self._ask(judgement, incumbent, slo, explore=explore)
            # Looked at anew: while the policy was thinking, a person may have changed the mode.
            situation = replace(situation, now=self._clock.monotonic(), mode=self._track.mode)
            block, inputs["gates"] = check_choice(situation, choice)
            if block is None or block.final:
                break
        self._track.asked_at, self._track.answer = (situation.now, block) if block else (None, None)
        why = f"{judgement.describe(slo)}; {choice.explanation}"
        reason = _reason(situation, choice)
        if block is not None and block.reason is Reason.MODE_RECOMMEND:
            why = f"{why}; {block.explanation}"
            await actuator.note(Action.RECOMMEND, reason, why, recommendation=choice, inputs=inputs)
            return False
        if block is not None:
            await actuator.hold(block.reason, block.explanation, recommendation=choice, inputs=inputs)
            return False
        if failed is not None and choice.config == failed.fallback:
            return False
        order = Order(
            config=choice.config,
            action=Action.APPLY,
            reason=reason,
            explanation=why,
            recommendation=choice,
            inputs=inputs,
            probation=Probation(
                config=choice.config,
                since=situation.now,
                fallback=failed.fallback if failed else incumbent,
                baseline=failed.baseline if failed else judgement.window,
                by_user=False,
            ),
        )
        return await actuator.attempt(order) is not None or self._node.in_doubt is not None

    def _situation(
        self, judgement: Judgement, incumbent: ServingConfig, *, load_changed: bool, first_violation: bool
    ) -> Situation:
        track = self._track
        return Situation(
            settings=self._settings,
            now=self._clock.monotonic(),
            mode=track.mode,
            slo=track.slo,
            incumbent=incumbent,
            judgement=judgement,
            load_changed=load_changed,
            first_violation=first_violation,
            within_bounds=self._learner.admits(incumbent),
            switched_at=track.switched_at,
            asked_at=track.asked_at,
            answer=track.answer,
            chosen_by_user=track.chosen_by_user,
            switches=tuple(track.switches),
            quarantine=dict(track.quarantine),
        )

    async def _ask(self, judgement: Judgement, incumbent: ServingConfig, slo: Slo, *, explore: bool) -> Recommendation:
        started = self._clock.monotonic()
        choice = await self._learner.suggest(judgement.window.workload, incumbent, slo, explore=explore)
        self._metrics.recommended(self._model, choice, self._clock.monotonic() - started)
        self._track.recommendation = choice
        return choice


def _reason(situation: Situation, choice: Recommendation) -> Reason:
    if not situation.within_bounds:
        return Reason.USER
    if situation.load_changed:
        return Reason.LOAD_CHANGED
    if not situation.judgement.met:
        return Reason.SLO_VIOLATED
    return Reason.EXPLORATION if choice.intent is Intent.EXPLORE else Reason.IMPROVEMENT
