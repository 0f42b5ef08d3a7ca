from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning import history as history_module
from service.learning.context import Context
from service.learning.history import MAX_CLUSTERS, MAX_TRIALS_PER_CLUSTER, MAX_WINDOWS_PER_TRIAL, History
from tests.support.landscape import BOUNDS

LIGHT, HEAVY = Context.of(Workload(100.0)), Context.of(Workload(400.0))
CONFIG = ServingConfig()


def window(latencies: list[float], batches: Histogram | None = None) -> Window:
    return Window(
        started_at=0.0,
        duration_seconds=1.0,
        latency=Histogram.of(latencies, BOUNDS),
        workload=Workload(100.0),
        succeeded=len(latencies),
        batch_size=batches,
    )


def config(number: int) -> ServingConfig:
    return ServingConfig(enable_batching=True, max_batch_size=1 + number)


def test_windows_of_one_load_share_a_cluster_and_other_loads_do_not() -> None:
    history = History()
    history.add(LIGHT, CONFIG, window([0.01]))
    history.add(Context.of(Workload(105.0)), CONFIG, window([0.01]))
    history.add(HEAVY, CONFIG, window([0.02]))
    assert len(history.clusters) == 2
    cluster = history.cluster(LIGHT)
    assert cluster is not None
    assert len(cluster.trials[CONFIG].measurements) == 2
    assert history.cluster(Context.of(Workload(5000.0))) is None


def test_a_load_that_comes_back_is_noticed_once() -> None:
    history = History()
    for context in (LIGHT, LIGHT, HEAVY):
        history.add(context, CONFIG, window([0.01]))
        assert not history.clusters[-1].just_returned
    history.add(LIGHT, CONFIG, window([0.01]))
    assert history.clusters[-1].just_returned
    history.add(LIGHT, CONFIG, window([0.01]))
    assert not history.clusters[-1].just_returned


def test_of_one_configuration_the_newest_windows_are_kept() -> None:
    history = History()
    for number in range(MAX_WINDOWS_PER_TRIAL + 3):
        history.add(LIGHT, CONFIG, window([0.001 * (number + 1)]))
    trial = history.clusters[0].trials[CONFIG]
    assert [m.tick for m in trial.measurements] == list(range(3, MAX_WINDOWS_PER_TRIAL + 3))
    assert trial.first_tick == 0


def test_the_configuration_untouched_for_longest_is_forgotten_first() -> None:
    history = History()
    for number in range(MAX_TRIALS_PER_CLUSTER):
        history.add(LIGHT, config(number), window([0.01]))
    history.add(LIGHT, config(0), window([0.01]))
    history.add(LIGHT, config(MAX_TRIALS_PER_CLUSTER), window([0.01]))
    kept = history.clusters[0].trials
    assert len(kept) == MAX_TRIALS_PER_CLUSTER
    assert config(0) in kept
    assert config(1) not in kept


def test_the_load_untouched_for_longest_is_forgotten_first() -> None:
    history = History()
    contexts = [Context.of(Workload(2.0**number)) for number in range(MAX_CLUSTERS + 1)]
    for context in contexts[:-1]:
        history.add(context, CONFIG, window([0.01]))
    history.add(contexts[0], CONFIG, window([0.01]))
    history.add(contexts[-1], CONFIG, window([0.01]))
    assert len(history.clusters) == MAX_CLUSTERS
    assert history.cluster(contexts[0]) is not None
    assert history.cluster(contexts[1]) is None


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_what_is_kept_of_a_histogram_has_the_same_quantiles(latencies: list[float], q: float) -> None:
    full = Histogram.of(latencies, BOUNDS)
    kept = history_module._trimmed(full)
    assert kept.count == full.count
    assert kept.quantile(q) == pytest.approx(full.quantile(q))
    assert kept.quantile_interval(q) == full.quantile_interval(q)
    assert len(kept.bounds) <= len(full.bounds)


def test_the_size_that_batches_grow_to_is_kept_where_the_server_tells() -> None:
    history = History()
    history.add(LIGHT, CONFIG, window([0.01], Histogram.of([1, 2, 4, 4], (1, 2, 4, 8))))
    history.add(LIGHT, CONFIG, window([0.01]))
    told, untold = history.clusters[0].trials[CONFIG].measurements
    assert told.large_batch is not None
    assert 2 < told.large_batch <= 4
    assert untold.large_batch is None
