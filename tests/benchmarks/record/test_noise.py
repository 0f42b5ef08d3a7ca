from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.landscape import LATENCY_BOUNDS, Measurement
from benchmarks.record.noise import Windows, spread_of
from benchmarks.record.plan import Visit
from service.domain.histogram import Histogram
from tests.benchmarks.record.test_plan import LATTICE, measured


def windows(sigma: float, rng: np.random.Generator, configs: int = 300) -> Windows:
    """Pairs of windows whose latencies are all stretched by a factor of this spread."""

    def window() -> Measurement:
        values = 0.01 * np.exp(0.3 * rng.standard_normal(2000) + sigma * rng.standard_normal())
        blank = measured(Visit(LATTICE[0], "repeat", 1.0), 0.01)
        return replace(blank, latency=Histogram.of(values.tolist(), LATENCY_BOUNDS))

    return [[window(), window()] for _ in range(configs)]


def test_what_moves_whole_windows_is_told_from_what_the_number_of_requests_explains() -> None:
    rng = np.random.default_rng(0)
    found = spread_of(windows(0.1, rng), 0.99, rng)
    assert found["extra_sigma"] == pytest.approx(0.1, rel=0.25)
    assert 0.01 < found["sampling_sigma"] < 0.05


def test_what_the_number_of_requests_explains_is_no_noise_of_the_machine() -> None:
    rng = np.random.default_rng(1)
    found = spread_of(windows(0.0, rng), 0.99, rng)
    assert found["extra_sigma"] < 0.02


def test_one_window_in_ten_that_was_stalled_does_not_spoil_the_figure() -> None:
    rng = np.random.default_rng(2)
    pairs = [list(pair) for pair in windows(0.05, rng)]
    stalled = measured(Visit(LATTICE[0], "repeat", 1.0), 0.1)
    for pair in pairs[::10]:
        pair[1] = stalled
    assert spread_of(pairs, 0.99, rng)["total_sigma"] < 0.1
