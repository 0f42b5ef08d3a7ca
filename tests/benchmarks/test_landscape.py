from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.landscape import (
    LATENCY_BOUNDS,
    Landscape,
    Measurement,
    Replay,
    lattice_space,
    load,
    load_all,
    merged_tails,
    save,
)
from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.space import queue_length

FAST = ServingConfig(enable_batching=True, max_batch_size=8, max_enqueued_batches=queue_length(8))
SLOW = ServingConfig(tensorflow_inter_op_parallelism=1, tensorflow_intra_op_parallelism=1)
KNOBS = {
    "max_batch_size": [0, 8],
    "batch_timeout_micros": [0],
    "num_batch_threads": [1],
    "tensorflow_inter_op_parallelism": [1],
    "tensorflow_intra_op_parallelism": [1],
    "instances": [1],
}


def measurement(config: ServingConfig, seconds: float, *, rejected: int = 0) -> Measurement:
    values = seconds * np.exp(0.2 * np.random.default_rng(1).standard_normal(900))
    return Measurement(
        config=config,
        kind="lattice",
        started_at=1.0,
        duration_seconds=3.0,
        latency=Histogram.of(values.tolist(), LATENCY_BOUNDS),
        arrivals=900 + rejected,
        succeeded=900,
        rejected=rejected,
        failed=0,
        batch_size=Histogram.of([4.0] * 200, (1.0, 2.0, 4.0, 8.0)) if config.enable_batching else None,
        queueing=None,
        cpu_seconds=1.0,
        foreign_cpu_share=0.0,
    )


FASTER = FAST.with_values(tensorflow_inter_op_parallelism=1, tensorflow_intra_op_parallelism=1)


def landscape(*measurements: Measurement, sigma: float = 0.0) -> Landscape:
    space = lattice_space(KNOBS, 2)
    tails = merged_tails(measurements, percentile=0.99)
    sheet = {
        "model": "m",
        "workload": Workload(300.0).to_dict(),
        "knobs": KNOBS,
        "cpus": 2,
        "capacity_per_second": 600.0,
        "estimate": {
            "percentile": 0.99,
            "log_tails": [float(np.log(tails[config])) if config in tails else None for config in space],
            "window_sigma": sigma,
            "window_seconds": 1.0,
        },
    }
    return Landscape("one", sheet, measurements)


TWO = landscape(measurement(FASTER, 0.01), measurement(SLOW, 0.05))


def test_a_landscape_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    save(TWO, tmp_path / "one.parquet")
    assert load(tmp_path / "one.parquet") == TWO
    assert load_all(tmp_path) == {"one": TWO}


def test_what_is_no_landscape_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.parquet").write_text("no")
    with pytest.raises(InvalidValueError, match=r"one\.parquet"):
        load(tmp_path / "one.parquet")
    with pytest.raises(InvalidValueError, match="regulus bench record"):
        load_all(tmp_path / "nowhere")


def test_windows_scatter_round_what_was_measured() -> None:
    replay, rng = Replay(TWO, 5.0), np.random.default_rng(0)
    tails = [replay.window(FASTER, rng).latency.quantile(0.99) for _ in range(200)]
    assert np.median(tails) == pytest.approx(replay.tail(FASTER, 0.99), rel=0.05)
    window = replay.window(FASTER, rng)
    assert window.workload.rate_per_second == pytest.approx(300, rel=0.2)
    assert window.batch_size is not None
    assert window.batch_size.mean == pytest.approx(4.0)
    assert replay.window(SLOW, rng).batch_size is None


def test_the_machines_noise_moves_whole_windows_and_less_so_the_longer_they_are() -> None:
    rng = np.random.default_rng(0)
    noisy = landscape(measurement(FASTER, 0.01), measurement(SLOW, 0.05), sigma=0.3)
    spreads = []
    for seconds in (1.0, 9.0):
        replay = Replay(noisy, seconds)
        spreads.append(np.log([replay.window(FASTER, rng).latency.quantile(0.5) for _ in range(300)]).std())
    assert spreads == pytest.approx([0.3, 0.1], rel=0.2)


def test_the_estimate_is_the_truth_that_windows_scatter_round() -> None:
    one = landscape(measurement(FASTER, 0.01), measurement(SLOW, 0.05))
    better = [None if value is None else value - np.log(2) for value in one.sheet["estimate"]["log_tails"]]
    estimated = replace(one, sheet={**one.sheet, "estimate": {**one.sheet["estimate"], "log_tails": better}})
    raw, replay = Replay(one, 30.0), Replay(estimated, 30.0)
    assert replay.tail(FASTER, 0.99) == pytest.approx(raw.tail(FASTER, 0.99) / 2)
    window = replay.window(FASTER, np.random.default_rng(0))
    assert window.latency.quantile(0.99) == pytest.approx(replay.tail(FASTER, 0.99), rel=0.1)
    assert replay.violation_ratio(FASTER, 0.005) == pytest.approx(raw.violation_ratio(FASTER, 0.01), abs=0.01)


def test_refused_requests_count_as_slowest() -> None:
    lossy = Replay(landscape(measurement(FASTER, 0.01, rejected=100), measurement(SLOW, 0.05)), 5.0)
    assert lossy.tail(FASTER, 0.99) == pytest.approx(LATENCY_BOUNDS[-1])
    assert lossy.violation_ratio(FASTER, 1.0) == pytest.approx(0.1)
    assert lossy.window(FASTER, np.random.default_rng(0)).rejected > 0


def test_a_configuration_between_the_points_of_the_lattice_is_its_nearest() -> None:
    replay = Replay(TWO, 5.0)
    assert replay.measured(FASTER.with_values(max_batch_size=9)) == FASTER
