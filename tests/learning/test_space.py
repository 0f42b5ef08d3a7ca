from __future__ import annotations

import pytest

from service.domain.errors import InfeasibleConfigError, InvalidValueError
from service.domain.serving_config import ServingConfig
from service.learning.space import BATCHING_OFF, KNOB_NAMES, ConfigSpace, Knob, default_space, queue_length


def test_every_point_is_a_distinct_valid_configuration() -> None:
    space = default_space(2)
    configs = list(space)
    assert len(set(configs)) == len(configs) == len(space)
    assert all(config in space for config in configs[::50])


def test_a_configuration_leads_back_to_its_point() -> None:
    space = default_space(4)
    for point in space.points[::97]:
        assert space.nearest(space.config(point)) == point
        assert space.points[space.index(point)] == point


def test_the_servers_default_is_a_point() -> None:
    assert ServingConfig() in default_space(2)


def test_with_batching_off_the_other_batching_knobs_make_no_difference() -> None:
    space = default_space(2)
    off = [p for p in space.points if space.values(p)["max_batch_size"] == BATCHING_OFF]
    assert {(p[1], p[2]) for p in off} == {(0, 0)}


def test_a_configuration_with_batching_is_never_nearest_to_one_without() -> None:
    space = default_space(2)
    assert space.config(space.nearest(ServingConfig(enable_batching=True, max_batch_size=1))).enable_batching


def test_threads_are_bounded_by_the_processors() -> None:
    for config in default_space(2):
        threads = max(config.tensorflow_intra_op_parallelism, 1) * config.instances
        assert threads * (config.num_batch_threads if config.enable_batching else 1) <= 8


def test_it_admits_what_lies_between_its_points_and_not_what_lies_outside() -> None:
    space = default_space(2, bounds={"max_batch_size": (2, 64)}, pinned={"instances": 1})
    between = ServingConfig(enable_batching=True, max_batch_size=24, num_batch_threads=3, batch_timeout_micros=300)
    assert space.admits(between)
    assert between not in space
    assert not space.admits(between.with_values(instances=2))
    assert not space.admits(between.with_values(max_batch_size=100))
    assert not space.admits(ServingConfig())


def test_an_infeasible_point_is_refused() -> None:
    space = default_space(2)
    with pytest.raises(InfeasibleConfigError, match="not feasible"):
        space.index((99,) * len(KNOB_NAMES))
    assert not space.has((99,) * len(KNOB_NAMES))


@pytest.mark.parametrize(
    ("bounds", "pinned", "field"),
    [
        ({"max_batch_size": (300, 400)}, {}, "max_batch_size"),
        ({"batch_size": (1, 2)}, {}, "batch_size"),
        ({}, {"instances": 3}, "instances"),
        ({"instances": (1, 1)}, {"instances": 2}, "instances"),
    ],
)
def test_bounds_that_leave_nothing_name_the_knob(
    bounds: dict[str, tuple[int, int]], pinned: dict[str, int], field: str
) -> None:
    with pytest.raises(InvalidValueError) as error:
        default_space(2, bounds, pinned)
    assert error.value.field == field


def test_knobs_must_be_complete_and_ascend() -> None:
    with pytest.raises(InvalidValueError, match="exactly once"):
        ConfigSpace([Knob("instances", (1, 2))], cpus=2)
    with pytest.raises(InvalidValueError, match="ascending"):
        Knob("instances", (2, 1))


def test_smaller_batches_get_longer_queues() -> None:
    assert queue_length(2) * 2 >= 1024
    assert queue_length(1 << 15) == 10


def test_where_automatic_thread_counts_are_not_offered_they_stand_for_all_processors() -> None:
    space = default_space(
        2,
        bounds={"tensorflow_inter_op_parallelism": (1, 2), "tensorflow_intra_op_parallelism": (1, 2)},
    )
    nearest = space.config(space.nearest(ServingConfig()))
    assert (nearest.tensorflow_inter_op_parallelism, nearest.tensorflow_intra_op_parallelism) == (2, 2)
