from __future__ import annotations

import math

import numpy as np
import pytest

from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.window import Window, WindowQuality
from service.domain.workload import Workload
from service.learning.performance_model import PARTICLES, PerformanceModel
from service.learning.space import default_space
from tests.support.landscape import BOUNDS, HEAVY, LIGHT, MEDIUM, Landscape, Model

CPUS = 2
LOAD = Workload(200.0)
SPACE = tuple(default_space(CPUS))


def batched(size: int = 16, **values: int) -> ServingConfig:
    usual = ServingConfig(
        enable_batching=True,
        max_batch_size=size,
        num_batch_threads=2,
        max_enqueued_batches=4096,
        tensorflow_intra_op_parallelism=1,
    )
    return usual.with_values(**values)


def window(seconds: float, load: Workload = LOAD, count: int = 1000, rejected: int = 0) -> Window:
    values = seconds * np.exp(0.1 * np.random.default_rng(3).standard_normal(count))
    return Window(
        started_at=0.0,
        duration_seconds=count / load.rate_per_second,
        latency=Histogram.of(values.tolist(), BOUNDS),
        workload=load,
        succeeded=count,
        rejected=rejected,
    )


def taught(
    landscape: Landscape, windows: int, load: Workload = LOAD, model: PerformanceModel | None = None, seed: int = 0
) -> PerformanceModel:
    """A model that has seen the default and then random configurations."""
    model = model or PerformanceModel(CPUS, seed=seed)
    rng = np.random.default_rng(seed)
    picks = [ServingConfig(), *(SPACE[i] for i in rng.integers(len(SPACE), size=windows - 1))]
    for config in picks:
        seen = landscape.window(config, load, rng)
        model.observe(seen.workload, config, seen)
    return model


def some(count: int = 120, seed: int = 1) -> list[ServingConfig]:
    return [SPACE[i] for i in np.random.default_rng(seed).choice(len(SPACE), count, replace=False)]


def test_before_anything_is_seen_the_tail_may_be_nearly_anything() -> None:
    prediction = PerformanceModel(CPUS).predict(LOAD, [ServingConfig(), batched()], particles=PARTICLES)
    assert prediction.log_tail.shape == prediction.sigma.shape == prediction.utilisation.shape == (2,)
    assert np.all(prediction.sigma > 1.0)
    assert np.all(np.isfinite(prediction.log_tail))


def test_no_configurations_give_no_predictions() -> None:
    assert PerformanceModel(CPUS).predict(LOAD, []).log_tail.shape == (0,)


@pytest.mark.parametrize("truth", [LIGHT, HEAVY, MEDIUM], ids=lambda model: model.name)
def test_a_few_windows_tell_of_configurations_that_were_not_tried(truth: Model) -> None:
    landscape = Landscape(truth)
    configs = some()
    tails = np.log([landscape.tail(config, LOAD) for config in configs])
    before, after = PerformanceModel(CPUS), taught(landscape, 10)
    errors = [np.abs(m.predict(LOAD, configs, particles=10).log_tail - tails) for m in (before, after)]
    assert np.median(errors[1]) < 0.5 * np.median(errors[0])
    assert np.median(errors[1]) < 0.5


def test_most_truths_lie_within_the_predicted_interval() -> None:
    held, count = 0, 0
    for truth in (LIGHT, HEAVY, MEDIUM):
        landscape, configs = Landscape(truth), some(60)
        tails = np.log([landscape.tail(config, LOAD) for config in configs])
        for seed in range(2):
            prediction = taught(landscape, 6, seed=seed).predict(LOAD, configs, particles=12)
            held += int(np.sum(np.abs(prediction.log_tail - tails) < 1.645 * prediction.sigma))
            count += len(configs)
    assert held / count > 0.75


def test_the_same_windows_and_seed_give_the_same_posterior() -> None:
    first, second, other = (taught(Landscape(MEDIUM), 4), taught(Landscape(MEDIUM), 4), PerformanceModel(CPUS, seed=1))
    assert first.parameters == second.parameters
    taught(Landscape(MEDIUM), 4, model=other)
    assert first.parameters != other.parameters


def test_a_window_that_may_not_be_judged_teaches_nothing() -> None:
    model = PerformanceModel(CPUS)
    before = model.parameters
    poor = Window(
        started_at=0.0,
        duration_seconds=1.0,
        latency=Histogram.of([0.01] * 5, BOUNDS),
        workload=LOAD,
        quality=WindowQuality.TOO_FEW_REQUESTS,
        succeeded=5,
    )
    idle = Window(started_at=0.0, duration_seconds=1.0, latency=Histogram.empty(BOUNDS), workload=LOAD)
    for useless in (poor, idle):
        model.observe(LOAD, ServingConfig(), useless)
    assert model.parameters == before


def test_what_is_learnt_under_one_load_serves_under_another() -> None:
    landscape, double = Landscape(HEAVY), Workload(2 * LOAD.rate_per_second)
    configs = some(60)
    tails = np.log([landscape.tail(config, double) for config in configs])
    error = {
        name: float(np.median(np.abs(model.predict(double, configs, particles=10).log_tail - tails)))
        for name, model in (("before", PerformanceModel(CPUS)), ("after", taught(landscape, 8)))
    }
    assert error["after"] < 0.6 * error["before"]


def test_overload_is_ordered_and_finite() -> None:
    model = taught(Landscape(HEAVY), 4)
    config = [ServingConfig()]
    capacity = LOAD.rate_per_second / model.predict(LOAD, config).utilisation[0]
    tails = [model.predict(Workload(factor * capacity), config).log_tail[0] for factor in (0.5, 1.2, 2.0, 5.0, 20.0)]
    assert tails == sorted(tails)
    assert all(map(math.isfinite, tails))


def test_a_server_that_drowns_teaches_that_the_load_exceeds_its_capacity() -> None:
    model = taught(Landscape(HEAVY), 3)
    drowned = window(30.0, count=600, rejected=400)
    for _ in range(3):
        model.observe(LOAD, batched(), drowned)
    assert model.predict(LOAD, [batched()]).utilisation[0] > 0.95
    assert all(math.isfinite(value) for triple in model.parameters.values() for value in triple)


def test_a_window_in_which_nothing_was_answered_is_evidence_too() -> None:
    model = PerformanceModel(CPUS)
    nothing = Window(
        started_at=0.0, duration_seconds=5.0, latency=Histogram.empty(BOUNDS), workload=LOAD, rejected=1000
    )
    model.observe(LOAD, ServingConfig(), nothing)
    assert model.predict(LOAD, [ServingConfig()]).utilisation[0] > 0.9


def test_a_drowned_window_does_not_undo_what_was_learnt() -> None:
    landscape = Landscape(MEDIUM)
    model = taught(landscape, 8)
    configs = some(60)
    before = model.predict(LOAD, configs).log_tail
    overload = Workload(3000.0)
    model.observe(overload, ServingConfig(), landscape.window(ServingConfig(), overload, np.random.default_rng(0)))
    assert np.median(np.abs(model.predict(LOAD, configs).log_tail - before)) < 0.25


def test_a_machine_that_becomes_slower_is_followed() -> None:
    slower = Model("slower", call=2e-3, fixed=6e-3, example=2e-3, curve=1.0, parallel=0.6, sync=0.1, thrash=0.2)
    load, configs = Workload(80.0), some(40)
    model = taught(Landscape(MEDIUM), 30, load)
    tails = np.log([Landscape(slower).tail(config, load) for config in configs])
    stale = np.median(np.abs(model.predict(load, configs).log_tail - tails))
    taught(Landscape(slower), 15, load, model)
    assert np.median(np.abs(model.predict(load, configs).log_tail - tails)) < 0.6 * stale


def test_configurations_that_come_to_the_same_are_predicted_alike() -> None:
    model = taught(Landscape(MEDIUM), 3)
    automatic = batched(tensorflow_intra_op_parallelism=0, tensorflow_inter_op_parallelism=0)
    spelled = batched(tensorflow_intra_op_parallelism=CPUS, tensorflow_inter_op_parallelism=CPUS)
    endless = batched(max_enqueued_batches=100_000)
    tails = model.predict(LOAD, [automatic, spelled, batched(), endless]).log_tail
    assert tails[0] == tails[1]
    assert tails[2] == tails[3]


def test_higher_percentiles_are_slower_and_padding_costs() -> None:
    model = taught(Landscape(HEAVY), 5)
    padded = batched().with_values(allowed_batch_sizes=(16,))
    median, tail = (model.predict(LOAD, [batched()], percentile).log_tail[0] for percentile in (0.5, 0.99))
    assert median < tail
    assert model.predict(LOAD, [padded]).log_tail[0] > tail


def test_surprises_make_it_less_sure() -> None:
    calm, surprised = (taught(Landscape(MEDIUM), 3) for _ in range(2))
    for _ in range(4):
        calm.observe(LOAD, batched(), window(float(np.exp(calm.predict(LOAD, [batched()], 0.5).log_tail[0]))))
        for seconds in (0.002, 0.2):
            surprised.observe(LOAD, batched(), window(seconds))
    assert surprised.discrepancy > calm.discrepancy


def test_an_explanation_accounts_for_the_time_of_slow_requests() -> None:
    model = taught(Landscape(HEAVY), 6)
    patient = model.explain(LOAD, batched(128, batch_timeout_micros=50_000))
    prompt = model.explain(LOAD, batched())
    for parts in (patient, prompt):
        assert min(parts.filling, parts.queueing, parts.execution, parts.outside) >= 0
        total = parts.filling + parts.queueing + parts.execution + parts.outside
        assert parts.tail <= total * 1.001
    assert patient.filling > 0.02
    assert prompt.filling < 0.005
    assert patient.batch > prompt.batch
    drowning = model.explain(Workload(5_000.0), ServingConfig())
    assert drowning.utilisation > 1
    assert drowning.queueing + drowning.execution > 0.9 * drowning.tail
