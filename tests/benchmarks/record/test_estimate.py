from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.landscape import LATENCY_BOUNDS, Measurement, lattice_space, merged_tails, tails_of
from benchmarks.record.estimate import estimate
from benchmarks.record.plan import Visit
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from tests.benchmarks.record.test_plan import measured

SPACE = lattice_space(
    {
        "max_batch_size": [0, 4, 16, 64],
        "batch_timeout_micros": [0, 1000, 5000],
        "num_batch_threads": [1, 2, 4],
        "tensorflow_inter_op_parallelism": [1, 2],
        "tensorflow_intra_op_parallelism": [1, 2],
        "instances": [1],
    },
    2,
)
CONFIGS = list(SPACE)


def truth(config: ServingConfig) -> float:
    """A smooth valley, seconds."""
    point = np.array(SPACE.nearest(config))
    return float(0.01 * np.exp(0.15 * np.abs(point - (2, 1, 1, 0, 0, 0)).sum()))


def window(config: ServingConfig, seconds: float, started_at: float) -> Measurement:
    blank = measured(Visit(config, "lattice", 1.0), seconds)
    values = seconds * np.exp(0.01 * np.random.default_rng(0).standard_normal(100))
    return replace(blank, started_at=started_at, latency=Histogram.of(values.tolist(), LATENCY_BOUNDS))


def recording(noise: float, drift: float, passes: int = 3) -> list[Measurement]:
    """Each pass in another order; the machine is slower by ``drift`` in every other minute."""
    rng, found, now = np.random.default_rng(3), [], 0.0
    for _ in range(passes):
        for i in rng.permutation(len(CONFIGS)):
            slower = drift * (now // 60 % 2)
            seconds = truth(CONFIGS[i]) * float(np.exp(noise * rng.standard_normal() + slower))
            found.append(window(CONFIGS[i], seconds, now))
            now += 1.0
    return found


def errors(tails: dict[ServingConfig, float]) -> np.ndarray:
    logs = np.array([np.log(tails[config] / truth(config)) for config in CONFIGS])
    return logs - logs.mean()


def test_it_is_nearer_to_the_truth_than_the_windows_by_themselves() -> None:
    taken = recording(noise=0.2, drift=0.3)
    found = estimate(SPACE, taken, 0.99)
    ours = errors(tails_of(SPACE, found)).std()
    theirs = errors(merged_tails(taken, percentile=0.99)).std()
    assert ours < 0.6 * theirs
    assert found["drift_sigma"] == pytest.approx(0.15, abs=0.06)
    assert found["window_sigma"] == pytest.approx(0.2, abs=0.05)


def test_without_noise_it_leaves_what_was_measured() -> None:
    taken = recording(noise=0.0, drift=0.0)
    raw = merged_tails(taken, percentile=0.99)
    for config, tail in tails_of(SPACE, estimate(SPACE, taken, 0.99)).items():
        assert tail == pytest.approx(raw[config], rel=0.05)


def test_queues_that_grow_are_left_as_measured_and_what_was_not_measured_is_not_made_up() -> None:
    taken = [m for m in recording(noise=0.05, drift=0.0) if m.config != CONFIGS[0]]
    drowned = window(CONFIGS[0], 5.0, 0.0)
    found = estimate(SPACE, [*taken, drowned], 0.99)
    assert tails_of(SPACE, found)[CONFIGS[0]] == pytest.approx(merged_tails([drowned], percentile=0.99)[CONFIGS[0]])
    assert CONFIGS[0] not in tails_of(SPACE, estimate(SPACE, taken, 0.99))
