from __future__ import annotations

import pytest

from service.domain.serving_config import ServingConfig
from service.learning.seeds import seed_points
from service.learning.space import default_space


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 16])
def test_seeds_are_distinct_feasible_and_few(cpus: int) -> None:
    space = default_space(cpus)
    points = seed_points(space)
    assert 3 <= len(points) == len(set(points)) <= 5
    assert all(space.has(point) for point in points)


def test_the_first_is_the_guides_batching_without_waiting_and_with_one_intra_op_thread() -> None:
    space = default_space(4)
    first = space.config(seed_points(space)[0])
    assert first.enable_batching
    assert (first.batch_timeout_micros, first.num_batch_threads) == (0, 4)
    assert first.tensorflow_intra_op_parallelism == 1


def test_one_seed_goes_without_batching() -> None:
    space = default_space(2)
    assert ServingConfig(tensorflow_intra_op_parallelism=1) in [space.config(point) for point in seed_points(space)]


def test_pinned_knobs_stay_pinned() -> None:
    space = default_space(4, pinned={"instances": 2, "num_batch_threads": 1})
    configs = [space.config(point) for point in seed_points(space)]
    assert all(config.instances == 2 for config in configs)
    assert all(config.num_batch_threads == 1 for config in configs)
