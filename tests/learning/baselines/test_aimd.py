from __future__ import annotations

from service.learning.baselines.aimd import Aimd
from service.learning.baselines.guide import guide_point
from service.learning.space import Point, default_space
from tests.support.searching import problem, visit

SPACE = default_space(2)
GUIDE = guide_point(SPACE)
FAST, SLOW = 0.01, 0.2


def of_size(examples: int) -> Point:
    return (SPACE.knobs[0].values.index(examples), *GUIDE[1:])


OFF = (0, 0, 0, *GUIDE[3:])


def after(point: Point, seconds: float, queueing: float | None = None) -> Point | None:
    search = Aimd(problem(SPACE))
    seen = visit(point, seconds, queueing=queueing)
    search.tell(seen, 1.0 if seconds == SLOW else -1.0)
    return search.ask()


def test_it_begins_with_the_smallest_size_whatever_was_in_force() -> None:
    assert Aimd(problem(SPACE)).ask() == OFF
    assert after((3, 2, 0, 1, 1, 0), FAST) == OFF


def test_while_the_objective_is_met_the_size_grows_by_an_amount_rounded_up_to_the_lattice() -> None:
    assert after(OFF, FAST) == of_size(4)
    assert after(of_size(4), FAST) == of_size(8)
    assert after(of_size(8), FAST) == of_size(16)


def test_a_violation_takes_a_share_off_rounded_down_to_the_lattice() -> None:
    assert after(of_size(16), SLOW) == of_size(8)
    assert after(of_size(128), SLOW) == of_size(64)


def test_at_the_largest_size_it_stays_while_all_is_well() -> None:
    assert after(of_size(128), FAST) == of_size(128)


def test_where_the_smallest_size_breaks_the_objective_it_grows() -> None:
    assert after(OFF, SLOW) == of_size(4)


def test_time_spent_waiting_for_a_batch_is_no_reason_for_smaller_batches() -> None:
    assert after(of_size(16), SLOW, queueing=0.19) == of_size(32)
    assert after(of_size(16), SLOW, queueing=0.01) == of_size(8)
