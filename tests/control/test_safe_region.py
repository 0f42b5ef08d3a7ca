from __future__ import annotations

import pytest

from service.control.safe_region import SafeRegion
from service.domain.serving_config import ServingConfig
from service.learning.space import default_space

SPACE = default_space(2)
CORNERS = SPACE.config(SPACE.points[0]), SPACE.config(SPACE.points[-1])


def region(factor: float, centre: ServingConfig = CORNERS[0]) -> SafeRegion:
    return SafeRegion(SPACE, centre, factor)


def test_nothing_is_as_near_as_the_centre_and_one_knob_is_nearer_than_two():
    centre = SPACE.config((2, 2, 1, 1, 1, 0))
    one, two = SPACE.config((4, 2, 1, 1, 1, 0)), SPACE.config((4, 4, 1, 1, 1, 0))
    near = region(0.5, centre)
    assert near.distance(centre) == 0
    assert 0 < near.distance(one) < near.distance(two) < 1


def test_factor_nought_holds_all_and_factor_one_only_the_centre():
    assert all(region(0.0).holds(config) for config in CORNERS)
    some = [*list(SPACE)[::7], CORNERS[0]]
    assert {config for config in some if region(1.0).holds(config)} == {CORNERS[0]}


def test_a_larger_factor_holds_less():
    some = list(SPACE)[::7]
    sizes = [sum(region(factor).holds(config) for config in some) for factor in (0.2, 0.4, 0.6, 0.8)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("factor", [0.5, 0.6, 0.8])
def test_the_step_towards_what_is_too_far_is_inside_and_nearer_to_it(factor):
    here = region(factor)
    outside = [config for config in list(SPACE)[::7] if not here.holds(config)]
    assert outside
    for config in outside[:: len(outside) // 20 + 1]:
        step = here.towards(config)
        assert step is not None
        assert step in SPACE
        assert here.holds(step)
        assert SafeRegion(SPACE, config, factor).distance(step) < here.distance(config)


def test_where_not_even_one_step_is_allowed_there_is_no_way():
    assert region(0.99).towards(CORNERS[1]) is None


def test_a_lattice_of_one_point_has_no_distances():
    knobs = {knob.name: knob.values[0] for knob in SPACE.knobs}
    single = default_space(4, pinned=knobs)
    assert SafeRegion(single, next(iter(single)), 0.6).distance(CORNERS[1]) == 0
