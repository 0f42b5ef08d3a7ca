from __future__ import annotations

from service.control.way_back import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, WayBack
from service.domain.serving_config import ServingConfig

ONE, OTHER = ServingConfig(), ServingConfig(instances=2)


def test_it_is_open_until_it_is_refused_and_again_after_the_pause():
    way = WayBack()
    assert not way.closed(ONE, 100.0)
    pause = way.refused(ONE, 100.0)
    assert way.closed(ONE, 100.0 + pause / 2)
    assert not way.closed(ONE, 100.0 + pause)
    assert not way.closed(OTHER, 100.0)


def test_pauses_double_up_to_the_longest_and_are_short_again_once_it_was_in_force():
    way = WayBack()
    pauses = [way.refused(ONE, 0.0) for _ in range(20)]
    assert pauses[:2] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    way.arrived(ONE)
    assert not way.closed(ONE, 0.0)
    assert way.refused(ONE, 0.0) == FIRST_PAUSE_SECONDS
