from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.loadgen.histogram import Recorder


def recorded(values: list[float]) -> Recorder:
    recorder = Recorder()
    for value in values:
        recorder.record(value)
    return recorder


@given(st.lists(st.floats(1.01e-6, 3600), min_size=1, max_size=50))
def test_each_percentile_is_within_one_percent_of_the_value_at_its_rank(values: list[float]) -> None:
    summary = recorded(values).summary()
    for q, found in ((0.5, summary.p50), (0.9, summary.p90), (0.99, summary.p99), (0.999, summary.p999)):
        exact = float(np.quantile(values, q, method="inverted_cdf"))
        assert found == pytest.approx(exact, rel=0.0101)
    assert summary.max == max(values)
    assert summary.mean == pytest.approx(np.mean(values))


def test_nothing_recorded_is_not_a_number() -> None:
    summary = Recorder().summary()
    assert summary.count == 0
    assert all(math.isnan(v) for v in (summary.mean, summary.p50, summary.p99, summary.max))
    assert summary.to_dict()["p99"] is None


def test_merging_is_recording_together() -> None:
    parts = [[0.001, 0.5], [], [2.0, 0.003]]
    merged = Recorder.merged(recorded(part) for part in parts)
    assert merged.to_dict() == recorded([0.001, 0.5, 2.0, 0.003]).to_dict()


def test_values_beyond_the_range_are_counted_at_its_ends() -> None:
    recorder = recorded([0.0, -1.0, 5000.0])
    assert recorder.summary().max == 5000
    buckets = recorder.buckets()
    assert [count for _, count in buckets] == [2, 1]
    assert buckets[0][0] == pytest.approx(1e-6)
    assert buckets[1][0] >= 3600
