"""Crashes: restarts with growing pauses, and a change on trial is taken back."""

from __future__ import annotations

from service.node.crashes import CrashLog, CrashRules

RULES = CrashRules(first_pause=1, longest_pause=4, calm=100, trial=600, crashes_for_rollback=3)


def test_the_first_restart_is_at_once_and_pauses_double_up_to_the_longest() -> None:
    log = CrashLog(RULES, float("-inf"), can_roll_back=False)
    assert [log.add(float(now)) for now in range(6)] == [0.0, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_after_a_calm_time_crashes_are_forgotten() -> None:
    log = CrashLog(RULES, float("-inf"), can_roll_back=False)
    log.add(0.0)
    log.add(1.0)
    assert log.add(101.0) == 0.0


def test_a_change_on_trial_is_taken_back_at_the_third_crash() -> None:
    log = CrashLog(RULES, 0.0, can_roll_back=True)
    assert [log.add(10.0), log.add(20.0), log.add(30.0)] == [0.0, 1.0, None]


def test_a_proven_configuration_is_not_taken_back_nor_one_without_a_predecessor() -> None:
    proven = CrashLog(RULES, 0.0, can_roll_back=True)
    assert None not in [proven.add(601.0 + now) for now in range(5)]
    alone = CrashLog(RULES, 0.0, can_roll_back=False)
    assert None not in [alone.add(float(now)) for now in range(5)]
