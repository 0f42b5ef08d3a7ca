from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from service.control.guardrails import before_asking, check_choice
from service.control.judge import Judgement
from service.control.settings import LoopSettings
from service.control.situation import BUDGET_SECONDS, Block, Quarantine, Situation
from service.domain.decision import Intent, Mode, Reason, Recommendation
from service.domain.histogram import Histogram, Interval
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window
from service.domain.workload import Workload

SLO = Slo(0.05)
SETTINGS = LoopSettings(min_dwell_seconds=30, max_switches_per_hour=10, reserved_switches=2, min_improvement_ratio=0.1)
OTHER = ServingConfig(enable_batching=True, max_batch_size=8)


def judgement(tail: float) -> Judgement:
    window = Window(
        started_at=0.0, duration_seconds=5.0, latency=Histogram.of([tail], (1.0,)), workload=Workload(100), succeeded=1
    )
    met = tail <= SLO.bound_seconds
    return Judgement(
        window=window,
        verdict=SloVerdict.MET if met else SloVerdict.VIOLATED,
        tail=Interval(tail * 0.9, tail, tail * 1.1),
        met=met,
    )


MET, VIOLATED = judgement(0.03), judgement(0.2)


def situation(**changes: Any) -> Situation:
    usual = Situation(
        settings=SETTINGS, now=10_000.0, mode=Mode.AUTO, slo=SLO, incumbent=ServingConfig(), judgement=VIOLATED
    )
    return replace(usual, **changes)


def choice(
    predicted: float | None = 0.01, *, intent: Intent = Intent.EXPLOIT, high: float | None = None, **changes: Any
) -> Recommendation:
    tail = None if predicted is None else Interval(predicted * 0.5, predicted, high or predicted * 1.5)
    usual = Recommendation(
        config=OTHER, intent=intent, explanation="it is good", workload=Workload(100), predicted_tail=tail
    )
    return replace(usual, **changes)


def reason_before(**changes: Any) -> Reason | None:
    block, _ = before_asking(situation(**changes))
    return block.reason if block else None


def reason_for(a_choice: Recommendation, **changes: Any) -> Reason | None:
    block, _ = check_choice(situation(**changes), a_choice)
    return block.reason if block else None


class TestBeforeAsking:
    def test_off_closes(self):
        assert reason_before(mode=Mode.OFF) is Reason.MODE_OFF

    @pytest.mark.parametrize("mode", [Mode.AUTO, Mode.RECOMMEND])
    def test_nothing_closes_at_first(self, mode):
        assert reason_before(mode=mode) is None
        assert reason_before(mode=mode, judgement=MET) is None

    def test_while_violated_one_window_is_dwell_enough(self):
        assert reason_before(switched_at=9_995.0) is None

    def test_while_met_the_dwell_counts_from_the_switch(self):
        assert reason_before(judgement=MET, switched_at=9_971.0) is Reason.DWELL
        assert reason_before(judgement=MET, switched_at=9_970.0) is None

    def test_and_from_the_last_question(self):
        assert reason_before(judgement=MET, switched_at=1.0, asked_at=9_971.0) is Reason.DWELL

    def test_a_new_load_ends_the_dwell(self):
        assert reason_before(judgement=MET, switched_at=9_999.0, load_changed=True) is None

    def test_a_persons_choice_stays_whatever_happens(self):
        person = {"chosen_by_user": True, "switched_at": 9_971.0}
        assert reason_before(**person) is Reason.DWELL
        assert reason_before(**person, judgement=MET, load_changed=True) is Reason.DWELL
        assert reason_before(chosen_by_user=True, switched_at=9_970.0) is None

    def test_recommending_has_no_hurry_even_while_violated(self):
        assert reason_before(mode=Mode.RECOMMEND, asked_at=9_971.0) is Reason.DWELL

    def test_a_policy_that_knew_nothing_better_is_left_alone_for_a_while(self):
        answer = Block(reason=Reason.INFEASIBLE, explanation="the node cannot run it")
        assert before_asking(situation(asked_at=9_990.1, answer=answer))[0] == answer
        assert reason_before(asked_at=9_990.0, answer=answer) is None
        assert reason_before(asked_at=9_999.0, answer=answer, load_changed=True) is None

    def test_a_violation_out_of_the_blue_must_last(self):
        assert reason_before(first_violation=True) is Reason.DWELL
        assert reason_before(first_violation=True, judgement=MET) is None
        assert reason_before(first_violation=False) is None

    def test_a_spent_budget_closes_auto_alone(self):
        spent = tuple(10_000.0 - i for i in range(10))
        assert reason_before(switches=spent) is Reason.SWITCH_BUDGET_SPENT
        assert reason_before(switches=spent, mode=Mode.RECOMMEND) is None

    def test_switches_of_an_hour_ago_do_not_count(self):
        old = tuple(10_000.0 - BUDGET_SECONDS - i for i in range(10))
        assert reason_before(switches=old) is None
        assert situation(switches=old).switches_left == 10


class TestOnTheChoice:
    def test_what_is_open_is_told_gate_by_gate(self):
        block, gates = check_choice(situation(), choice())
        assert block is None
        assert set(gates.values()) == {"open"}
        assert "worth_a_switch" in gates

    def test_staying_is_no_change(self):
        assert reason_for(choice(config=ServingConfig(), intent=Intent.STAY)) is Reason.INCUMBENT_BEST

    def test_quarantine_holds_until_it_ends(self):
        held = Quarantine(until=10_001.0, reason=Reason.APPLY_FAILED, explanation="too slow")
        assert reason_for(choice(), quarantine={OTHER: held}) is Reason.APPLY_FAILED
        assert reason_for(choice(), quarantine={OTHER: replace(held, until=9_999.0)}) is None
        for_ever = replace(held, until=math.inf, reason=Reason.INFEASIBLE)
        assert reason_for(choice(), quarantine={OTHER: for_ever}) is Reason.INFEASIBLE

    def test_the_reserve_is_for_what_is_known(self):
        spent = tuple(10_000.0 - i for i in range(8))
        assert reason_for(choice(intent=Intent.EXPLORE), switches=spent) is Reason.SWITCH_BUDGET_SPENT
        assert reason_for(choice(), switches=spent) is None
        assert reason_for(choice(intent=Intent.EXPLORE), switches=spent[:7]) is None

    def test_while_violated_anything_may_be_explored(self):
        assert reason_for(choice(0.5, intent=Intent.EXPLORE)) is None
        assert reason_for(choice(None, intent=Intent.EXPLORE)) is None

    def test_while_violated_what_is_known_must_help(self):
        assert reason_for(choice(0.19)) is Reason.INCUMBENT_BEST
        assert reason_for(choice(0.17)) is None
        assert reason_for(choice(0.049), judgement=judgement(0.052)) is None

    def test_while_met_what_is_known_must_be_clearly_better(self):
        assert reason_for(choice(0.028), judgement=MET) is Reason.INCUMBENT_BEST
        assert reason_for(choice(None), judgement=MET) is Reason.INCUMBENT_BEST
        assert reason_for(choice(0.026), judgement=MET) is None

    def test_while_met_exploring_must_be_safe_and_not_worse(self):
        explore = {"intent": Intent.EXPLORE}
        assert reason_for(choice(0.029, high=0.051, **explore), judgement=MET) is Reason.UNSAFE
        assert reason_for(choice(0.031, high=0.049, **explore), judgement=MET) is Reason.INCUMBENT_BEST
        assert reason_for(choice(None, **explore), judgement=MET) is Reason.UNSAFE
        assert reason_for(choice(0.029, high=0.049, **explore), judgement=MET) is None

    def test_the_owners_bounds_are_kept_at_any_price(self):
        assert reason_for(choice(0.04), judgement=MET, within_bounds=False) is None
        assert reason_for(choice(None, intent=Intent.EXPLORE), judgement=MET, within_bounds=False) is None

    @pytest.mark.parametrize(
        ("mode", "reason"),
        [(Mode.AUTO, None), (Mode.RECOMMEND, Reason.MODE_RECOMMEND), (Mode.OFF, Reason.MODE_OFF)],
    )
    def test_only_auto_touches(self, mode, reason):
        assert reason_for(choice(), mode=mode) is reason

    def test_a_recommendation_passes_all_other_gates_first(self):
        assert reason_for(choice(0.19), mode=Mode.RECOMMEND) is Reason.INCUMBENT_BEST

    @pytest.mark.parametrize(
        "blocked", [choice(None, intent=Intent.EXPLORE), choice(0.03, high=9, intent=Intent.EXPLORE)]
    )
    def test_a_blocked_exploration_leaves_room_for_the_best_known(self, blocked):
        block, _ = check_choice(situation(judgement=MET), blocked)
        assert block is not None
        assert not block.final
