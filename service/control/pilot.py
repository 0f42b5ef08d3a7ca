"""Pilot: from a judged window to what is done about it: learn, verify the last switch, decide on the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.control.actuator import Actuator
from service.control.deliberation import Deliberation
from service.control.error_budget import Burn
from service.control.guardrails import (
    SAID_NOT_DONE,
    before_asking,
    check_choice,
    dwelt_long_enough,
    hands_off,
    near_the_known_good,
)
from service.control.judge import Judgement, same_load
from service.control.learner import Learner
from service.control.memory import Memory
from service.control.node import Node, Order
from service.control.outlook import Outlook
from service.control.probation import Outcome, Probation, Ruling, comparable, rule
from service.control.settings import LoopSettings
from service.control.situation import Permission, Situation
from service.control.spikes import SpikeMeter
from service.control.track import Track
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Action, Intent, Reason, Recommendation
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
        memory: Keeps what guardrails must not forget.
        spikes: Tells what a switch cost.
        permission: What a person allows at this moment.
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
        memory: Memory,
        spikes: SpikeMeter,
        permission: Callable[[], Permission],
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
        self._memory = memory
        self._spikes = spikes
        self._permission = permission
        self._store = store
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._workers = workers
        self._outlook = Outlook(learner=learner, track=track, settings=settings, clock=clock, permission=permission)

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
        spike = self._count(judgement, incumbent, before)
        probation = track.probation
        ruling = await self._rule(probation, judgement) if probation else None
        failed = await self._verify(probation, ruling, spike) if probation and ruling else None
        if judgement.verdict is SloVerdict.MET and failed is None:
            track.last_known_good, track.good_failed = incumbent, None
            await self._actuator.remember()
        situation = await self._outlook.situation(
            judgement,
            incumbent,
            load_changed=load_changed,
            first_violation=probation is None and before is not None and before.met and not load_changed,
        )
        await self._memory.keep()
        deliberation = Deliberation(judgement, track.slo, situation.budget)
        deliberation.spike(spike if probation is None or failed is not None else None)
        if await self._flee(situation, deliberation):
            return
        if failed is None or ruling is None:
            await self._decide(situation, None, deliberation)
            return
        if track.way_back.closed(failed.fallback, self._clock.monotonic()):
            # What else there is must not be left untried meanwhile.
            name = failed.fallback.describe()
            deliberation.gates({"way_back": f"the node refused to return to {name} and is asked again later"})
            await self._decide(situation, failed, deliberation)
        elif ruling.outcome is Outcome.RETURN or not await self._decide(situation, failed, deliberation):
            await self._go_back(failed, ruling, deliberation)
        # What could not be undone stays on probation, and a later window leads here again.
        track.renew_probation(self._clock.monotonic())

    def _count(self, judgement: Judgement, incumbent: ServingConfig, before: Judgement | None) -> float | None:
        """Charge a window to the budgets; returns what the switch before it cost, seconds, if there was one."""
        track, window, now = self._track, judgement.window, self._clock.monotonic()
        requests = window.succeeded + window.rejected + window.failed
        track.windows_seen += 1
        track.budget.add(now, window.duration_seconds, requests, window.violation_ratio(track.slo))
        track.note_judgement(incumbent, judgement, now)
        tails = [known.tail.value for known in (before, judgement) if known is not None and known.tail is not None]
        steady = max(tails, default=0.0)
        cost = self._spikes.finish(now - window.duration_seconds, track.slo, steady)
        if cost is not None:
            track.spend_spike(now, cost)
            self._metrics.switch_cost(self._model, cost)
        return cost

    async def _rule(self, probation: Probation, judgement: Judgement) -> Ruling:
        slo, fallback_now = self._track.slo, None
        violated = judgement.verdict is SloVerdict.VIOLATED
        if violated and probation.baseline is not None and not comparable(probation, judgement, self._settings):
            expected = await self._learner.predict(judgement.window.workload, probation.fallback, slo)
            fallback_now = expected.predicted_tail
        return rule(probation, judgement, slo, self._settings, fallback_now=fallback_now)

    async def _verify(self, probation: Probation, ruling: Ruling, spike: float | None) -> Probation | None:
        """Write down how a probation ended; returns it when it failed and may be undone."""
        inputs = {} if spike is None else {"spike_seconds": spike}
        if ruling.outcome is Outcome.KEEP:
            kept = f"kept {probation.config.describe()}: {ruling.explanation}"
            await self._actuator.note(Action.VERIFY, Reason.VERIFIED, kept, inputs=inputs)
            self._track.probation = None
            return None
        block = hands_off(self._permission())
        if block is None and not probation.by_user:
            return probation
        who = "a person chose it" if block is None else block.explanation
        why = f"{ruling.explanation}; not undone, because {who}"
        await self._actuator.hold(Reason.WORSE_THAN_BEFORE, why, inputs=inputs)
        self._track.probation = None
        return None

    async def _flee(self, situation: Situation, deliberation: Deliberation) -> bool:
        """Return at once to the last known good while the error budget burns fast, where that is expected to help."""
        good = self._track.last_known_good
        if situation.budget.burn is not Burn.FAST or not situation.way_back or good is None:
            return False
        if hands_off(situation) is not None or (situation.chosen_by_user and dwelt_long_enough(situation)):
            return False
        judged, burn = situation.judgement.describe(situation.slo), situation.budget.describe()
        why = (
            f"{judged}, and the error budget burns ({burn}); {good.describe()} is expected to meet the "
            f"objective, and nothing unknown is tried for {situation.frozen_seconds:.0f} s"
        )
        order = Order(
            config=good,
            action=Action.ROLLBACK,
            reason=Reason.BUDGET_BURNING,
            explanation=why,
            inputs=deliberation.inputs,
        )
        return await self._ordered(order)

    async def _go_back(self, failed: Probation, ruling: Ruling, deliberation: Deliberation) -> None:
        names = f"{failed.config.describe()} to {failed.fallback.describe()}"
        order = Order(
            config=failed.fallback,
            action=Action.ROLLBACK,
            reason=Reason.WORSE_THAN_BEFORE,
            explanation=f"back from {names}: {ruling.explanation}",
            inputs=deliberation.inputs,
        )
        await self._actuator.attempt(order)

    async def _decide(self, situation: Situation, failed: Probation | None, deliberation: Deliberation) -> bool:
        """Ask the policy and do what it says, as far as the guardrails allow.

        Args:
            situation: As it is now.
            failed: A failed probation: its fallback is no new choice, and stays the place to return to.
            deliberation: Gathers what goes into the decision.

        Returns:
            Whether something was ordered that is, or may be, in force now.
        """
        judgement, incumbent = situation.judgement, situation.incumbent
        actuator, slo, inputs = self._actuator, self._track.slo, deliberation.inputs
        block, states = before_asking(situation)
        deliberation.gates(states)
        if block is not None:
            await actuator.hold(block.reason, block.explanation, inputs=inputs)
            return False
        while self._track.untaught:
            await self._learner.learn_failure(judgement.window, self._track.untaught.pop())
        for explore in (True, False) if situation.may_explore else (False,):
            choice = await self._ask(judgement, incumbent, slo, explore=explore)
            choice = await self._nearer(situation, choice, deliberation)
            # Looked at anew: while the policy was thinking, a person may have changed the mode.
            situation = self._outlook.renewed(situation)
            block, states = check_choice(situation, choice)
            deliberation.gates(states)
            deliberation.candidate(choice, block)
            if block is None or block.final:
                break
        self._track.asked_at, self._track.answer = (situation.now, block) if block else (None, None)
        why = f"{judgement.describe(slo)}; {choice.explanation}"
        reason = _reason(situation, choice)
        if block is not None and block.reason in SAID_NOT_DONE:
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
            canary=self._settings.canary and self._node.can_try_out(choice.config),
            probation=Probation(
                config=choice.config,
                since=situation.now,
                fallback=failed.fallback if failed else incumbent,
                baseline=failed.baseline if failed else judgement.window,
                by_user=False,
                promised=choice.predicted_tail,
                worse_before=failed.worse_before + 1 if failed else 0,
            ),
        )
        return await self._ordered(order)

    async def _ordered(self, order: Order) -> bool:
        """Whether an order was carried out, or may have been."""
        return await self._actuator.attempt(order) is not None or self._node.in_doubt is not None

    async def _nearer(self, situation: Situation, choice: Recommendation, deliberation: Deliberation) -> Recommendation:
        """The choice, or where it lies too far away, a step on the way to it that does not and promises something.

        The policy has weighed what the choice is worth, not the step: so that must promise what a known one would.
        """
        too_far = near_the_known_good(situation, choice)
        now = situation.judgement.tail
        if too_far is None or situation.region is None or now is None:
            return choice
        step = situation.region.towards(choice.config)
        if step is None or step == situation.incumbent or step in situation.measured:
            return choice
        expected = await self._learner.predict(choice.workload, step, situation.slo)
        tail = expected.predicted_tail
        if tail is None or tail.value > now.value * (1 - self._settings.min_improvement_ratio):
            return choice
        deliberation.candidate(choice, too_far)
        why = f"{choice.explanation}; {too_far.explanation}, so {step.describe()} on the way there is tried first"
        return replace(expected, config=step, intent=Intent.EXPLORE, explanation=why)

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
