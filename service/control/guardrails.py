"""Guardrails: small pure gates between what the policy wants and what is done.

Each gate looks at the situation and answers None (open) or a :class:`Block` with the reason. Some are asked before
the policy is, because its thinking costs processor time; some about its choice; some about whether the node may be
touched at all. All must be open. A new guardrail is one more function in one of the three tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.control.error_budget import Burn
from service.control.judge import clearly_worse, milliseconds
from service.control.situation import Block, Permission, Situation
from service.domain.decision import Intent, Mode, Reason, Recommendation

#: Times ``window_seconds`` for which a policy that knew of nothing better is left alone.
WINDOWS_BETWEEN_QUESTIONS = 2.0

Gate = Callable[[Situation], Block | None]
ChoiceGate = Callable[[Situation, Recommendation], Block | None]
TouchGate = Callable[[Permission], Block | None]
States = dict[str, str]
"""What each gate says, by its name: "open", or why it is closed."""


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


def kill_switch_off(permission: Permission) -> Block | None:
    """Closed while the kill switch is on. Where nothing would be touched anyway it changes nothing."""
    if permission.mode is not Mode.AUTO or not permission.killed:
        return None
    return Block(reason=Reason.KILL_SWITCH, explanation="the kill switch is on: nothing is done automatically")


def no_maintenance(permission: Permission) -> Block | None:
    """Closed inside the owner's maintenance windows."""
    if permission.mode is not Mode.AUTO or permission.maintenance is None:
        return None
    return Block(
        reason=Reason.MAINTENANCE, explanation=f"the maintenance window {permission.maintenance!r} (UTC) is open"
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


def spikes_affordable(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed, once switches have cost enough this hour, to all but what ends a violation."""
    limit = situation.settings.max_spike_seconds_per_hour
    if situation.mode is not Mode.AUTO or situation.spike_seconds < limit or not situation.within_bounds:
        return None
    exploring = choice.intent is Intent.EXPLORE
    if not situation.judgement.met and not exploring:
        return None
    return Block(
        reason=Reason.SWITCH_BUDGET_SPENT,
        explanation=f"switches have cost {situation.spike_seconds:.0f} s of high latency this hour; {limit:g} s may be",
        final=not exploring,
    )


def error_budget_allows(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed to exploration while the error budget burns, or did so fast lately, where keeping still helps.

    It helps when the objective is met now, or would be with the last known good. Where that is what burns (the load
    grew), something better must be looked for, whatever the budget says.
    """
    helps = situation.judgement.met or situation.way_back
    if choice.intent is not Intent.EXPLORE or not helps or not situation.within_bounds:
        return None
    if situation.frozen_seconds > 0:
        why = f"the error budget burned fast; nothing unknown is tried for {situation.frozen_seconds:.0f} s"
        return Block(reason=Reason.FROZEN, explanation=why, final=False)
    if situation.budget.burn is Burn.HEALTHY:
        return None
    why = f"the error budget burns ({situation.budget.describe()}), so only what is known is used"
    return Block(reason=Reason.BUDGET_BURNING, explanation=why, final=False)


def near_the_known_good(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed, while the objective is met, to experiments too far from the last known good.

    While it is violated the nearest may be just what is wrong, so the most promising is allowed wherever it lies.
    """
    region = situation.region
    if choice.intent is not Intent.EXPLORE or not situation.judgement.met or not situation.within_bounds:
        return None
    if region is None or region.holds(choice.config):
        return None
    why = (
        f"{choice.config.describe()} is {region.distance(choice.config):.2f} of the lattice away from the last known "
        f"good {region.centre.describe()}; the safety factor allows {region.radius:.2f}"
    )
    return Block(reason=Reason.UNSAFE, explanation=why, final=False)


def safe_to_explore(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed, while the objective is met, to what may break it by the upper end of its prediction."""
    if choice.intent is not Intent.EXPLORE or not situation.judgement.met or not situation.within_bounds:
        return None
    predicted = choice.predicted_tail
    if predicted is not None and predicted.high <= situation.slo.bound_seconds:
        return None
    expected = f"up to {milliseconds(predicted.high)} ms" if predicted else "anything"
    explanation = f"the objective is met, and {expected} must be expected of {choice.config.describe()}"
    return Block(reason=Reason.UNSAFE, explanation=explanation, final=False)


def not_back_and_forth(situation: Situation, choice: Recommendation) -> Block | None:
    """Closed to what was in force under this load within the hour and did not do clearly better than what is now.

    A prediction may flip with every window; what was measured does not, and so no two configurations take turns. One
    that met the objective may be returned to when the present one does not.
    """
    held = situation.measured.get(choice.config)
    judgement, slo = situation.judgement, situation.slo
    if held is None or not situation.within_bounds or (held.met and not judgement.met):
        return None
    if clearly_worse(held.window, judgement.window, slo, situation.settings):
        return None
    explanation = (
        f"{choice.config.describe()} was in force under this load: {held.describe(slo)}, not clearly better than "
        f"{judgement.describe(slo)} now"
    )
    return Block(reason=Reason.INCUMBENT_BEST, explanation=explanation, final=False)


# Before the node is touched


def mode_allows_touching(permission: Permission) -> Block | None:
    """Closed in every mode but ``auto``."""
    if permission.mode is Mode.AUTO:
        return None
    reason = Reason.MODE_OFF if permission.mode is Mode.OFF else Reason.MODE_RECOMMEND
    return Block(reason=reason, explanation=f"the mode is {permission.mode.value}: nothing was touched")


def learnt_enough(permission: Permission) -> Block | None:
    """Closed in the learning period: it says what it would do."""
    if permission.mode is not Mode.AUTO or permission.learning is None:
        return None
    return Block(
        reason=Reason.LEARNING_PERIOD, explanation=f"still learning ({permission.learning}): nothing was touched"
    )


GATES_BEFORE_ASKING: tuple[Gate, ...] = (
    mode_allows_choosing,
    kill_switch_off,
    no_maintenance,
    violation_lasts,
    dwelt_long_enough,
    not_asked_in_vain,
    switch_budget_left,
)
GATES_ON_THE_CHOICE: tuple[ChoiceGate, ...] = (
    something_to_change,
    not_quarantined,
    exploration_affordable,
    spikes_affordable,
    error_budget_allows,
    near_the_known_good,
    safe_to_explore,
    not_back_and_forth,
    worth_a_switch,
)
GATES_BEFORE_TOUCHING: tuple[TouchGate, ...] = (mode_allows_touching, kill_switch_off, no_maintenance, learnt_enough)

#: What keeps hands off although the choice itself was found good: then it is said as a recommendation.
SAID_NOT_DONE = frozenset({Reason.MODE_RECOMMEND, Reason.LEARNING_PERIOD})


def before_asking(situation: Situation) -> tuple[Block | None, States]:
    """The first gate that is closed whatever the policy would say (None: it is worth asking), and the state of each."""
    return _first({gate.__name__: gate(situation) for gate in GATES_BEFORE_ASKING})


def check_choice(situation: Situation, choice: Recommendation) -> tuple[Block | None, States]:
    """The first gate closed to this choice (None: it may be made), and the state of each."""
    on_the_choice = {gate.__name__: gate(situation, choice) for gate in GATES_ON_THE_CHOICE}
    return _first(on_the_choice | {gate.__name__: gate(situation) for gate in GATES_BEFORE_TOUCHING})


def hands_off(permission: Permission) -> Block | None:
    """The first gate that keeps hands off the node, whatever is to be done to it automatically."""
    return next((block for gate in GATES_BEFORE_TOUCHING if (block := gate(permission))), None)


def _first(blocks: Mapping[str, Block | None]) -> tuple[Block | None, States]:
    first = next((block for block in blocks.values() if block), None)
    return first, {name: block.explanation if block else "open" for name, block in blocks.items()}
