from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.landscape import LATENCY_BOUNDS, Landscape, Measurement, Replay, load, load_all, save
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


def landscape(*measurements: Measurement, drift: float = 0.0) -> Landscape:
    sheet = {
        "model": "m",
        "workload": Workload(300.0).to_dict(),
        "knobs": KNOBS,
        "cpus": 2,
        "capacity_per_second": 600.0,
        "noise": {"drift_sigma": drift, "burst_sigma": 0.0},
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


def test_the_machines_noise_moves_whole_windows() -> None:
    rng = np.random.default_rng(0)
    replay = Replay(replace(TWO, sheet={**TWO.sheet, "noise": {"drift_sigma": 0.3, "burst_sigma": 0.0}}), 5.0)
    logs = np.log([replay.window(FASTER, rng).latency.quantile(0.5) for _ in range(300)])
    assert logs.std() == pytest.approx(0.3, rel=0.2)


def test_bursts_average_out_over_longer_windows_and_drift_does_not() -> None:
    noisy = replace(TWO, sheet={**TWO.sheet, "noise": {"drift_sigma": 0.03, "burst_sigma": 0.1}})
    assert noisy.noise(1.0) == pytest.approx(np.hypot(0.03, 0.1))
    assert noisy.noise(100.0) == pytest.approx(np.hypot(0.03, 0.01))


def test_refused_requests_count_as_slowest() -> None:
    lossy = Replay(landscape(measurement(FASTER, 0.01, rejected=100), measurement(SLOW, 0.05)), 5.0)
    assert lossy.tail(FASTER, 0.99) == LATENCY_BOUNDS[-1]
    assert lossy.violation_ratio(FASTER, 1.0) == pytest.approx(0.1)
    assert lossy.window(FASTER, np.random.default_rng(0)).rejected > 0


def test_a_configuration_between_the_points_of_the_lattice_is_its_nearest() -> None:
    replay = Replay(TWO, 5.0)
    assert replay.measured(FASTER.with_values(max_batch_size=9)) == FASTER
