"""Plans: which turn comes when."""

from __future__ import annotations

import pytest

from benchmarks.live.plan import CELLS, LEAST_BOUND_SECONDS, Cell, bound_of, expected_seconds, turns
from service.domain.errors import InvalidValueError

POLICIES = ("default", "guide", "hill_climbing", "rrl", "adaptive_rrl")


def test_every_policy_takes_a_turn_in_every_cell_of_every_repeat() -> None:
    planned = turns(CELLS, POLICIES, 3, seed=1)
    assert len(planned) == len(set(planned)) == 3 * len(CELLS) * len(POLICIES)


def test_all_turns_of_a_cell_follow_one_another() -> None:
    places = [(turn.repeat, turn.cell) for turn in turns(CELLS, POLICIES, 2, seed=1)]
    assert [place for i, place in enumerate(places) if i == 0 or place != places[i - 1]] == list(dict.fromkeys(places))


def test_the_order_of_policies_is_drawn_anew_for_each_cell_and_repeat() -> None:
    planned = turns(CELLS, POLICIES, 4, seed=1)
    orders = {tuple(turn.policy for turn in planned[i : i + 5]) for i in range(0, len(planned), 5)}
    assert len(orders) > 10
    assert planned == turns(CELLS, POLICIES, 4, seed=1) != turns(CELLS, POLICIES, 4, seed=2)


def test_more_repeats_leave_the_first_ones_as_they_are() -> None:
    assert turns(CELLS, POLICIES, 5, seed=3)[: len(CELLS) * len(POLICIES)] == turns(CELLS, POLICIES, 1, seed=3)


def test_a_cell_is_read_from_its_key() -> None:
    assert [Cell.parse(cell.key) for cell in CELLS] == list(CELLS)


@pytest.mark.parametrize("text", ["", "step", "step-", "step-x", "step-0", "step-999", "diurnal-60", "60"])
def test_what_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="is no cell"):
        Cell.parse(text)


def test_a_cells_arrivals_do_not_depend_on_the_other_cells() -> None:
    draws = [cell.rng(0, repeat).random() for cell in CELLS for repeat in range(3)]
    assert len(set(draws)) == len(draws)
    assert Cell("step", 60).rng(0, 1).random() == Cell("step", 60).rng(0, 1).random()


def test_runs_take_longer_than_their_load() -> None:
    assert expected_seconds(10, 60.0) > 600.0


def test_the_objective_is_twice_the_best_tail_and_at_least_the_least_bound() -> None:
    assert bound_of([0.09, 0.04, 10.0]) == 0.08
    assert bound_of([0.001, 0.002]) == LEAST_BOUND_SECONDS
