from __future__ import annotations

import math

import numpy as np
import pytest

from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.context import Context
from service.learning.features import LENGTH_SCALES, PRESSURE, features, knobs, wait_seconds

CPUS = 4.0
LOAD = Context.of(Workload(1000.0)).vector


def batched(**values: int) -> ServingConfig:
    return ServingConfig(enable_batching=True, max_batch_size=32).with_values(**values)


def row(config: ServingConfig, *, least_tail: float = 0.02, reach: float = math.inf) -> np.ndarray:
    return features(knobs([config], CPUS), LOAD, least_tail, reach).reshape(-1)


def test_there_is_a_length_scale_for_each_feature() -> None:
    assert features(knobs([ServingConfig()] * 3, CPUS), LOAD, 0.02, 8.0).shape == (3, len(LENGTH_SCALES))


def test_batch_limits_beyond_what_batches_reach_look_alike() -> None:
    assert np.array_equal(row(batched(max_batch_size=64), reach=8.0), row(batched(max_batch_size=16), reach=8.0))
    assert not np.array_equal(row(batched(max_batch_size=64), reach=8.0), row(batched(max_batch_size=4), reach=8.0))


def test_inter_op_threads_beyond_the_batches_in_execution_press_no_harder() -> None:
    wide = batched(num_batch_threads=2, tensorflow_inter_op_parallelism=4, tensorflow_intra_op_parallelism=1)
    just = wide.with_values(tensorflow_inter_op_parallelism=2)
    few = wide.with_values(tensorflow_inter_op_parallelism=1)
    pressures = knobs([wide, just, few], CPUS)[:, PRESSURE]
    assert pressures[0] == pressures[1] > pressures[2]


def test_the_same_parallelism_by_other_knobs_is_the_same_pressure() -> None:
    threads = batched(num_batch_threads=4, tensorflow_intra_op_parallelism=1)
    inside = batched(num_batch_threads=1, tensorflow_intra_op_parallelism=4)
    instances = batched(num_batch_threads=1, tensorflow_intra_op_parallelism=1, instances=4)
    assert np.allclose(knobs([threads, inside, instances], CPUS)[:, PRESSURE], 0.0)


def test_a_batch_waits_until_it_is_full_or_its_time_is_out() -> None:
    configs = [
        batched(max_batch_size=2, batch_timeout_micros=5000),
        batched(max_batch_size=128, batch_timeout_micros=5000),
        ServingConfig(),
    ]
    assert wait_seconds(knobs(configs, CPUS), LOAD) == pytest.approx([0.001, 0.005, 0.0])


def test_a_wait_that_is_short_against_the_tail_hardly_shows() -> None:
    patient = batched(max_batch_size=128, batch_timeout_micros=1000)
    against_long = row(patient, least_tail=1.0) - row(batched(max_batch_size=128), least_tail=1.0)
    against_short = row(patient, least_tail=0.001) - row(batched(max_batch_size=128), least_tail=0.001)
    assert np.abs(against_long).max() < 0.01 < 1.0 < np.abs(against_short).max()


def test_automatic_threads_stand_near_but_not_at_the_number_of_processors() -> None:
    auto = batched(tensorflow_intra_op_parallelism=0)
    exact = batched(tensorflow_intra_op_parallelism=4)
    distance = np.abs(row(auto) - row(exact)).max()
    assert 0 < distance < 1
