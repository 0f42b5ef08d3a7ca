from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.control.error_budget import BudgetState, Burn
from service.control.guardrails import before_asking, check_choice
from service.control.judge import Judgement, conclude
from service.control.safe_region import SafeRegion
from service.control.settings import LoopSettings
from service.control.situation import BUDGET_SECONDS, Block, Quarantine, Situation, learning_left
from service.domain.decision import Intent, Mode, Reason, Recommendation
from service.domain.histogram import Histogram, Interval, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window
from service.domain.workload import Workload
from service.learning.space import default_space

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

    def test_the_kill_switch_closes_auto_alone(self):
        assert reason_before(killed=True) is Reason.KILL_SWITCH
        assert reason_before(killed=True, mode=Mode.RECOMMEND) is None

    def test_a_maintenance_window_closes_auto_alone(self):
        assert reason_before(maintenance="daily 02:00-04:00") is Reason.MAINTENANCE
        assert reason_before(maintenance="daily 02:00-04:00", mode=Mode.RECOMMEND) is None

    def test_every_gate_tells_its_state(self):
        block, states = before_asking(situation(killed=True))
        assert block is not None
        assert states["kill_switch_off"] == block.explanation
        assert states["no_maintenance"] == "open"


class TestBudgets:
    FAST, SLOW = BudgetState(burn=Burn.FAST), BudgetState(burn=Burn.SLOW)

    def exploring(self, **changes: Any) -> Reason | None:
        return reason_for(choice(0.02, high=0.03, intent=Intent.EXPLORE), **changes)

    @pytest.mark.parametrize("budget", [FAST, SLOW])
    def test_while_the_budget_burns_nothing_unknown_is_tried(self, budget):
        assert self.exploring(judgement=MET, budget=budget) is Reason.BUDGET_BURNING
        assert reason_for(choice(0.02), judgement=MET, budget=budget) is None

    def test_nor_while_frozen(self):
        assert self.exploring(judgement=MET, frozen_seconds=1.0) is Reason.FROZEN
        assert self.exploring(judgement=MET, frozen_seconds=0.0) is None

    def test_where_going_back_does_not_help_the_search_goes_on(self):
        assert self.exploring(budget=self.FAST, frozen_seconds=60.0, way_back=True) is Reason.FROZEN
        assert self.exploring(budget=self.FAST, frozen_seconds=60.0, way_back=False) is None

    def test_spent_spikes_leave_only_the_end_of_a_violation(self):
        spent = SETTINGS.max_spike_seconds_per_hour
        assert self.exploring(spike_seconds=spent) is Reason.SWITCH_BUDGET_SPENT
        assert reason_for(choice(0.01), judgement=MET, spike_seconds=spent) is Reason.SWITCH_BUDGET_SPENT
        assert reason_for(choice(0.01), spike_seconds=spent) is None
        assert reason_for(choice(0.01), judgement=MET, spike_seconds=spent - 1) is None

    def test_the_learning_period_is_said_after_all_else(self):
        assert reason_for(choice(), learning="1 of 2 windows") is Reason.LEARNING_PERIOD
        assert reason_for(choice(0.19), learning="1 of 2 windows") is Reason.INCUMBENT_BEST
        assert reason_for(choice(), learning="1 of 2 windows", mode=Mode.RECOMMEND) is Reason.MODE_RECOMMEND

    def test_learning_wants_windows_and_time(self):
        settings = LoopSettings(learning_windows=10, learning_seconds=60)
        assert learning_left(settings, 0, None) == "0 of 10 windows, 0 of 60 s"
        assert learning_left(settings, 10, 59.0) is not None
        assert learning_left(settings, 9, 60.0) is not None
        assert learning_left(settings, 10, 60.0) is None
        assert learning_left(LoopSettings(), 0, None) is None


class TestRegion:
    SPACE = default_space(2)
    FAR = SPACE.config(SPACE.points[-1])

    def region(self, factor: float) -> SafeRegion:
        return SafeRegion(self.SPACE, ServingConfig(), factor)

    def exploring(self, factor: float, **changes: Any) -> Reason | None:
        far = choice(0.02, high=0.03, intent=Intent.EXPLORE, config=self.FAR)
        return reason_for(far, region=self.region(factor), **changes)

    def test_while_met_experiments_stay_near_the_known_good(self):
        assert self.exploring(0.9, judgement=MET) is Reason.UNSAFE
        assert self.exploring(0.0, judgement=MET) is None

    def test_while_violated_the_most_promising_is_allowed_wherever_it_lies(self):
        assert self.exploring(0.9) is None

    def test_what_is_known_may_lie_anywhere(self):
        assert reason_for(choice(0.02, config=self.FAR), region=self.region(0.9), judgement=MET) is None


def measured(tail: float, refused: int = 0) -> Judgement:
    """A window full enough to be compared with another."""
    bounds = exponential_bounds(1e-3, 1.02, 400)
    window = replace(MET.window, latency=Histogram.of([tail] * 1000, bounds), succeeded=1000, rejected=refused)
    return conclude(window, SLO, SETTINGS)


class TestBackAndForth:
    def test_what_was_measured_weighs_more_than_what_is_predicted(self):
        now = measured(0.2)
        assert reason_for(choice(0.01), judgement=now, measured={OTHER: measured(0.19)}) is Reason.INCUMBENT_BEST
        assert reason_for(choice(0.01), judgement=now, measured={OTHER: measured(0.1)}) is None

    def test_what_met_the_objective_may_be_returned_to_when_the_present_does_not(self):
        assert reason_for(choice(0.01), judgement=measured(0.052), measured={OTHER: measured(0.048)}) is None

    def test_from_a_disaster_the_way_to_what_lost_less_is_open_though_that_lost_too_much_as_well(self):
        less, more = measured(0.02, refused=50), measured(0.01, refused=9000)
        assert reason_for(choice(0.01), judgement=more, measured={OTHER: less}) is None
        assert reason_for(choice(0.01), judgement=less, measured={OTHER: more}) is Reason.INCUMBENT_BEST

    def test_what_refused_requests_is_not_returned_to_for_the_sake_of_those_it_answered_fast(self):
        refusing = measured(0.01, refused=500)
        assert reason_for(choice(0.005), judgement=measured(0.03), measured={OTHER: refusing}) is Reason.INCUMBENT_BEST

    def test_while_met_it_must_have_been_clearly_better(self):
        now = measured(0.04)
        assert reason_for(choice(0.01), judgement=now, measured={OTHER: measured(0.039)}) is Reason.INCUMBENT_BEST
        assert reason_for(choice(0.01), judgement=now, measured={OTHER: measured(0.02)}) is None


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
        infeasible = replace(held, reason=Reason.INFEASIBLE)
        assert reason_for(choice(), quarantine={OTHER: infeasible}) is Reason.INFEASIBLE

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
