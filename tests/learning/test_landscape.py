"""The simulation that policies are tried against must itself be right."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from tests.support.landscape import HEAVY, LIGHT, Landscape, Model

#: No call overhead and nothing shared: each example takes exactly ten milliseconds of one processor.
PLAIN = Model("plain", call=0.0, fixed=0.0, example=0.01, curve=1.0, parallel=0.0, sync=0.0, thrash=0.0)
ONE_BY_ONE = ServingConfig(
    enable_batching=True, max_batch_size=1, num_batch_threads=1, max_enqueued_batches=10_000, instances=1
)


def batched(**values: int) -> ServingConfig:
    usual = ServingConfig(
        enable_batching=True, max_batch_size=16, num_batch_threads=2, tensorflow_intra_op_parallelism=1
    )
    return usual.with_values(**values)


def test_one_server_agrees_with_the_formula_for_its_mean_wait() -> None:
    # M/D/1: mean wait = ρ s / (2 (1 − ρ)), here 0.6 · 10 ms / 0.8 = 7.5 ms, and 10 ms of service.
    latencies = Landscape(PLAIN, cpus=1, requests=60_000).latencies(ONE_BY_ONE, Workload(60.0))
    assert float(np.mean(latencies)) == pytest.approx(0.0175, rel=0.05)


def test_requests_are_alone_when_they_come_rarely() -> None:
    latencies = Landscape(PLAIN, cpus=1, requests=50).latencies(ONE_BY_ONE, Workload(0.1))
    assert latencies == pytest.approx(np.full(50, 0.01))


def test_a_batch_that_never_fills_waits_for_its_timeout() -> None:
    config = batched(max_batch_size=64, batch_timeout_micros=50_000)
    latencies = Landscape(PLAIN, cpus=1, requests=50).latencies(config, Workload(0.001))
    assert latencies == pytest.approx(np.full(50, 0.06))


def test_a_full_queue_refuses_requests() -> None:
    landscape = Landscape(PLAIN, cpus=1, requests=500)
    window = landscape.window(
        ONE_BY_ONE.with_values(max_enqueued_batches=5), Workload(1000.0), np.random.default_rng(0)
    )
    assert window.rejected > 300
    assert window.succeeded == window.latency.count == 500 - window.rejected


def test_bursts_make_the_tail_longer() -> None:
    landscape, config = Landscape(LIGHT, requests=3000), batched()
    assert landscape.tail(config, Workload(500.0, cv=4.0)) > landscape.tail(config, Workload(500.0, cv=1.0))


def test_batching_carries_a_load_that_drowns_the_default() -> None:
    landscape, load = Landscape(LIGHT), Workload(9000.0)
    assert landscape.tail(ServingConfig(), load) > 20 * landscape.tail(batched(), load)


def test_one_inter_op_thread_runs_one_batch_at_a_time() -> None:
    landscape, load = Landscape(HEAVY), Workload(300.0)
    serial = batched(tensorflow_inter_op_parallelism=1)
    assert landscape.tail(serial, load) > 1.5 * landscape.tail(batched(tensorflow_inter_op_parallelism=2), load)


def test_a_window_is_the_same_for_the_same_generator_and_noisy_otherwise() -> None:
    landscape, load = Landscape(HEAVY, requests=200), Workload(100.0)
    windows = [landscape.window(batched(), load, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert windows[0] == windows[1] != windows[2]
    assert windows[0].batch_size is not None
    assert landscape.window(ServingConfig(), load, np.random.default_rng(1)).batch_size is None
