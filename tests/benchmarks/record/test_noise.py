from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.landscape import LATENCY_BOUNDS, Measurement
from benchmarks.record.noise import Windows, fit_noise
from benchmarks.record.plan import Visit
from service.domain.histogram import Histogram
from tests.benchmarks.record.test_plan import LATTICE, measured


def windows(seconds: float, sigma: float, rng: np.random.Generator, configs: int = 400) -> Windows:
    """Pairs of windows whose latencies are all stretched by a factor of this spread."""

    def window() -> Measurement:
        values = 0.01 * np.exp(0.3 * rng.standard_normal(2000) + sigma * rng.standard_normal())
        blank = measured(Visit(LATTICE[0], "repeat", seconds), 0.01)
        return replace(blank, latency=Histogram.of(values.tolist(), LATENCY_BOUNDS))

    return [[window(), window()] for _ in range(configs)]


def test_noise_that_falls_with_the_length_of_a_window_is_told_from_noise_that_does_not() -> None:
    rng = np.random.default_rng(0)
    drift, burst = 0.08, 0.1
    of_length = [windows(s, float(np.hypot(drift, burst / s**0.5)), rng) for s in (0.5, 4.0)]
    found = fit_noise(of_length[0], of_length[1], 0.99, rng)
    assert found["drift_sigma"] == pytest.approx(drift, abs=0.025)
    assert found["burst_sigma"] == pytest.approx(burst, abs=0.03)


def test_what_the_number_of_requests_explains_is_no_noise_of_the_machine() -> None:
    rng = np.random.default_rng(1)
    found = fit_noise([], windows(1.0, 0.0, rng), 0.99, rng)
    assert found["drift_sigma"] < 0.02
    assert found["lengths"][0]["sampling_sigma"] > 0.02


def test_without_repeats_no_noise_is_claimed() -> None:
    found = fit_noise([], [], 0.99, np.random.default_rng(0))
    assert (found["drift_sigma"], found["burst_sigma"], found["lengths"]) == (0.0, 0.0, [])
