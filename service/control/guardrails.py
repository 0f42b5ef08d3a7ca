"""Guardrails: small pure gates between what the policy wants and what is done.

Each gate looks at the situation and answers None (open) or a :class:`Block` with the reason. Some are asked before
the policy is, because its thinking costs processor time; some about its choice; some about whether the node may be
touched at all. All must be open. A new guardrail is one more function in one of the three tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.control.judge import Judgement, milliseconds
from service.control.settings import LoopSettings
from service.domain.decision import Intent, Mode, Reason, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo

#: The span of the switch budget, seconds.
BUDGET_SECONDS = 3600.0

#: Times ``window_seconds`` for which a policy that knew of nothing better is left alone.
WINDOWS_BETWEEN_QUESTIONS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Why a configuration is not to be tried.

    Attributes:
        until: Monotonic time at which it may be tried again, seconds; infinite for never.
        reason: What happened.
        explanation: What happened, as a sentence.
    """

    until: float
    reason: Reason
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A closed gate.

    Attributes:
        reason: Why.
        explanation: Why, as a sentence.
        final: Whether no other choice could pass; else the policy is asked for its best known one.
    """

    reason: Reason
    explanation: str
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the guardrails may look at. Times are monotonic seconds.

    Attributes:
        settings: Limits.
        now: The present moment.
        mode: How much the loop may do.
        slo: The objective.
        incumbent: In force.
        judgement: Of the newest window.
        load_changed: Whether the load differs from that of the window judged before.
        first_violation: Whether the window before, under the same configuration and load, met the objective.
        within_bounds: Whether the incumbent is one that the owner's bounds and pins allow.
        switched_at: When the configuration last changed; None: not since this service looks on.
        asked_at: When the policy was last asked in vain; None: not since the last order.
        answer: Why it was in vain; None as above.
        chosen_by_user: Whether a person put the incumbent in force.
        switches: Moments of the switches that still count against the budget.
        quarantine: Configurations not to be tried.
    """

    settings: LoopSettings
    now: float
    mode: Mode
    slo: Slo
    incumbent: ServingConfig
    judgement: Judgement
    load_changed: bool = False
    first_violation: bool = False
    within_bounds: bool = True
    switched_at: float | None = None
    asked_at: float | None = None
    answer: Block | None = None
    chosen_by_user: bool = False
    switches: tuple[float, ...] = ()
    quarantine: Mapping[ServingConfig, Quarantine] = field(default_factory=dict)

    @property
    def switches_left(self) -> int:
        """Switches left in this hour's budget."""
        return switches_left(self.switches, self.now, self.settings)

    @property
    def may_explore(self) -> bool:
        """Whether something unknown may be tried: not with the last switches of the budget."""
        return self.mode is not Mode.AUTO or self.switches_left > self.settings.reserved_switches


Gate = Callable[[Situation], Block | None]
ChoiceGate = Callable[[Situation, Recommendation], Block | None]


def switches_left(switches: tuple[float, ...], now: float, settings: LoopSettings) -> int:
    """Switches left in this hour's budget; never negative."""
    spent = sum(1 for at in switches if at > now - BUDGET_SECONDS)
    return max(settings.max_switches_per_hour - spent, 0)


# Before the policy is asked


def mode_allows_choosing(situation: Situation) -> Block | None:
    """Closed in mode ``off``."""
    if situation.mode is not Mode.OFF:
        return None
    return Block(reason=Reason.MODE_OFF, explanation="the mode is off: observing only")


def dwelt_long_enough(situation: Situation) -> Block | None:
    """Closed for ``min_dwell_seconds`` after a switch or a question, unless there is need.

    While the objective is violated one judged window is enough, and a new load is a new question. What a person chose
    stays for the whole dwell. Where nothing may be touched there is never need to ask more often.
    """
    need = situation.load_changed or (not situation.judgement.met and situation.mode is Mode.AUTO)
    if need and not situation.chosen_by_user:
        return None
    moments = (situation.switched_at,) if need else (situation.switched_at, situation.asked_at)
    started = max((moment for moment in moments if moment is not None), default=None)
    dwell = situation.settings.min_dwell_seconds
    if started is None or situation.now - started >= dwell:
        return None
    if need:
        why = "a person chose this configuration"
    elif situation.judgement.met:
        why = "the objective is met"
    else:
        why = "the last recommendation stands"
    left = dwell - (situation.now - started)
    return Block(reason=Reason.DWELL, explanation=f"{why}; no other is looked for within {left:.0f} s")


def not_asked_in_vain(situation: Situation) -> Block | None:
    """Closed, for the reason found then, for some windows after a question that led to nothing, under the same load.

    An objective that cannot be met must not keep the policy thinking with every window: the processor time it takes
    may be the very time that the server lacks.
    """
    asked_at = situation.asked_at
    if asked_at is None or situation.load_changed:
        return None
    pause = WINDOWS_BETWEEN_QUESTIONS * situation.settings.window_seconds
    return situation.answer if situation.now - asked_at < pause else None


def violation_lasts(situation: Situation) -> Block | None:
    """Closed to the first violation out of the blue: another window must confirm it.

    When neither load nor configuration has changed, most violations come from something else on the machine, and are
    over before another configuration would be in force.
    """
    if situation.judgement.met or not situation.first_violation:
        return None
    return Block(
        reason=Reason.DWELL,
        explanation="the objective was met a moment ago under the same load: waiting whether the violation lasts",
    )


def switch_budget_left(situation: Situation) -> Block | None:
    """Closed when the hour's switches are spent. Recommending costs none."""
    if situation.mode is not Mode.AUTO or situation.switches_left > 0:
        return None
    return Block(
        reason=Reason.SWITCH_BUDGET_SPENT,
        explanation=f"all {situation.settings.max_switches_per_hour} switches of this hour are spent",
    )


# On what the policy chose


def something_to_change(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed when the choice is what is in force already."""
    if choice.config != situation.incumbent:
        return None
    return Block(reason=Reason.INCUMBENT_BEST, explanation=f"the configuration in force is best: {choice.explanation}")


def not_quarantined(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed for a configuration that the node refused or could not bring up lately."""
    held = situation.quarantine.get(choice.config)
    if held is None or held.until <= situation.now:
        return None
    return Block(reason=held.reason, explanation=f"{choice.config.describe()}: {held.explanation}", final=False)


def exploration_affordable(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed to exploration when only the reserved switches are left, whatever the policy was asked for."""
    if choice.intent is not Intent.EXPLORE or situation.may_explore:
        return None
    return Block(
        reason=Reason.SWITCH_BUDGET_SPENT,
        explanation=f"the last {situation.settings.reserved_switches} switches of this hour are for the best known",
        final=False,
    )


def worth_a_switch(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed to what promises too little.

    A known configuration must be predicted to be better by ``min_improvement_ratio``, or to meet an objective that is
    violated now. An unknown one may always be tried while the objective is violated; while it is met, it must not be
    predicted to be worse than what is in force.
    """
    now, predicted = situation.judgement.tail, choice.predicted_tail
    met, exploring = situation.judgement.met, choice.intent is Intent.EXPLORE
    if now is None or not situation.within_bounds or (exploring and not met):
        return None
    if predicted is None:
        why = "nothing can be predicted of"
    elif not met and predicted.value <= situation.slo.bound_seconds:
        return None
    elif predicted.value > now.value * (1 if exploring else 1 - situation.settings.min_improvement_ratio):
        why = f"{milliseconds(predicted.value)} ms instead of {milliseconds(now.value)} ms is not worth a switch to"
    else:
        return None
    state = "the objective is met" if met else "the objective is violated"
    explanation = f"{state}, and {why} {choice.config.describe()}"
    return Block(reason=Reason.INCUMBENT_BEST, explanation=explanation, final=not exploring)


def safe_to_explore(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed, while the objective is met, to what may break it by the upper end of its prediction."""
    if choice.intent is not Intent.EXPLORE or not situation.judgement.met or not situation.within_bounds:
        return None
    predicted = choice.predicted_tail
    if predicted is not None and predicted.high <= situation.slo.bound_seconds:
        return None
    expected = f"up to {milliseconds(predicted.high)} ms" if predicted else "anything"
    explanation = f"the objective is met, and {expected} must be expected of {choice.config.describe()}"
    return Block(reason=Reason.INCUMBENT_BEST, explanation=explanation, final=False)


# Before the node is touched


def mode_allows_touching(situation: Situation) -> Block | None:
    """Closed in every mode but ``auto``."""
    if situation.mode is Mode.AUTO:
        return None
    reason = Reason.MODE_OFF if situation.mode is Mode.OFF else Reason.MODE_RECOMMEND
    return Block(reason=reason, explanation=f"the mode is {situation.mode.value}: nothing was touched")


GATES_BEFORE_ASKING: tuple[Gate, ...] = (
    mode_allows_choosing,
    violation_lasts,
    dwelt_long_enough,
    not_asked_in_vain,
    switch_budget_left,
)
GATES_ON_THE_CHOICE: tuple[ChoiceGate, ...] = (
    something_to_change,
    not_quarantined,
    exploration_affordable,
    safe_to_explore,
    worth_a_switch,
)
GATES_BEFORE_TOUCHING: tuple[Gate, ...] = (mode_allows_touching,)


def before_asking(situation: Situation) -> Block | None:
    """The first gate that is closed whatever the policy would say; None when it is worth asking."""
    return next((block for gate in GATES_BEFORE_ASKING if (block := gate(situation))), None)


def check_choice(situation: Situation, choice: Recommendation) -> tuple[Block | None, dict[str, str]]:
    """The first gate closed to this choice (None: it may be made), and the state of every gate, by name."""
    blocks = {gate.__name__: gate(situation, choice) for gate in GATES_ON_THE_CHOICE}
    blocks |= {gate.__name__: gate(situation) for gate in GATES_BEFORE_TOUCHING}
    first = next((block for block in blocks.values() if block), None)
    return first, {name: block.explanation if block else "open" for name, block in blocks.items()}
