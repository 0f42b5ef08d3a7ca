"""Limits: what fits, and what may be asked for."""

from __future__ import annotations

import pytest

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.errors import HeadRoomError
from service.node.limits import BASE_BYTES, check_feasible, check_head_room, check_whole_memory, knob_bounds

GIB = 1 << 30


def test_two_generations_must_fit() -> None:
    check_head_room(1, 100 << 20, 0, GIB)
    check_head_room(0, 100 * GIB, 0, 0)
    check_head_room(9, 100 * GIB, 0, None)
    with pytest.raises(HeadRoomError, match="2 more server process"):
        check_head_room(2, GIB, 0, 3 * GIB)
    check_head_room(1, 0, 0, 2 * BASE_BYTES)
    with pytest.raises(HeadRoomError, match="1024 MiB"):  # what was measured counts where it is more than the estimate
        check_head_room(1, 0, GIB, GIB)


def test_what_can_never_fit_is_the_model_alone_in_more_than_all_memory() -> None:
    check_whole_memory(2, GIB, 2 * GIB)
    check_whole_memory(9, 100 * GIB, None)
    with pytest.raises(InfeasibleConfigError, match="3072 MiB, more than all memory of this node, 2048 MiB") as refused:
        check_whole_memory(3, GIB, 2 * GIB)
    assert refused.value.field == "instances"


def test_threads_are_bounded_by_the_processors_and_what_the_user_began_with_is_allowed() -> None:
    bounds = knob_bounds(1.5, ServingConfig(enable_batching=True, num_batch_threads=64))
    assert bounds["tensorflow_intra_op_parallelism"] == (0, 2)
    assert bounds["num_batch_threads"] == (1, 64)
    check_feasible(ServingConfig(), bounds, 1.5)
    for knob, value in (("tensorflow_inter_op_parallelism", 3), ("instances", 3)):
        with pytest.raises(InfeasibleConfigError) as refused:
            check_feasible(ServingConfig().with_values(**{knob: value}), bounds, 1.5)
        assert refused.value.field == knob


def test_many_instances_of_many_batches_are_too_much_together() -> None:
    bounds = knob_bounds(4, ServingConfig())
    config = ServingConfig(enable_batching=True, num_batch_threads=16, instances=2)
    check_feasible(config, bounds, 4)
    with pytest.raises(InfeasibleConfigError) as refused:
        check_feasible(config.with_values(instances=4), bounds, 4)
    assert refused.value.field == "num_batch_threads"
