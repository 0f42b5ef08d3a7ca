"""Two small landscapes of one model, made by the simulator that stands for a server elsewhere in the tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.landscape import LATENCY_BOUNDS, Landscape, Measurement, lattice_space, merged_tails, save
from benchmarks.replay.world import Terrain, terrains
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from tests.support.landscape import MEDIUM
from tests.support.landscape import Landscape as Simulation

KNOBS = {
    "max_batch_size": [0, 8, 32],
    "batch_timeout_micros": [0, 5000],
    "num_batch_threads": [1, 2],
    "tensorflow_inter_op_parallelism": [1, 2],
    "tensorflow_intra_op_parallelism": [1, 2],
    "instances": [1],
}
LIGHT_LOAD, HEAVY_LOAD = Workload(150.0), Workload(420.0)


def measurement(simulation: Simulation, config: ServingConfig, load: Workload) -> Measurement:
    window = simulation.window(config, load, np.random.default_rng(0))
    values = simulation.latencies(config, load)
    served = values[~np.isnan(values)]
    return Measurement(
        config=config,
        kind="lattice",
        started_at=0.0,
        duration_seconds=window.duration_seconds,
        latency=Histogram.of(served.tolist(), LATENCY_BOUNDS),
        arrivals=len(values),
        succeeded=len(served),
        rejected=len(values) - len(served),
        failed=0,
        batch_size=window.batch_size,
        queueing=None,
        cpu_seconds=1.0,
        foreign_cpu_share=0.0,
    )


def recorded(name: str, load: Workload) -> Landscape:
    simulation = Simulation(MEDIUM, requests=600, noise=0.0)
    configs = list(lattice_space(KNOBS, 2))
    sheet: Mapping[str, Any] = {
        "model": "medium",
        "workload": load.to_dict(),
        "knobs": KNOBS,
        "cpus": 2,
        "capacity_per_second": 500.0,
    }
    measurements = tuple(measurement(simulation, config, load) for config in configs)
    tails = merged_tails(measurements, percentile=0.99)
    estimate = {
        "percentile": 0.99,
        "log_tails": [float(np.log(tails[config])) for config in configs],
        "window_sigma": 0.05,
        "window_seconds": 5.0,
        "error_sigma": 0.0,
        "drift_sigma": 0.0,
    }
    return Landscape(name, {**sheet, "estimate": estimate}, measurements)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    path = tmp_path_factory.mktemp("landscapes")
    for name, load in (("medium-light", LIGHT_LOAD), ("medium-heavy", HEAVY_LOAD)):
        save(recorded(name, load), path / f"{name}.parquet")
    return path


@pytest.fixture(scope="session")
def known(folder: Path) -> dict[str, Terrain]:
    """Both, ready to be replayed."""
    return terrains(folder)
