"""The load of each cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.live.load import CV, arrivals, hardest, of_trace
from benchmarks.live.plan import Cell
from service.domain.errors import InvalidValueError
from service.loadgen.schedules import RRL_LENGTH, RRL_STEPS
from service.loadgen.traces import Trace, read_trace

CAPACITY, SECONDS = 400.0, 60.0


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    gaps = np.random.default_rng(5).gamma(0.2, 5.0, 2000)
    path = tmp_path / "arrivals.csv"
    path.write_text("TIMESTAMP,Tokens\n" + "".join(f"{t:.6f},1\n" for t in np.cumsum(gaps)))
    return read_trace(path)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_highest_step_is_at_the_level_and_the_others_below() -> None:
    times = arrivals(Cell("step", 50), CAPACITY, SECONDS, rng(), None).times
    starts = [start * SECONDS / RRL_LENGTH for start, _ in RRL_STEPS] + [SECONDS]
    shortest = min(gap for _, gap in RRL_STEPS)
    counts, _ = np.histogram(times, starts)
    wanted = [200.0 * shortest / gap for _, gap in RRL_STEPS]
    assert counts / np.diff(starts) == pytest.approx(wanted, rel=0.15)


@pytest.mark.parametrize("schedule", ["gamma", "trace"])
def test_the_mean_rate_is_at_the_level(schedule: str, trace: Trace) -> None:
    counts = [len(arrivals(Cell(schedule, 50), CAPACITY, SECONDS, rng(s), trace).times) for s in range(8)]
    assert np.mean(counts) == pytest.approx(200.0 * SECONDS, rel=0.05)


def test_gamma_arrivals_come_in_bursts() -> None:
    gaps = np.diff(arrivals(Cell("gamma", 50), CAPACITY, 300.0, rng(), None).times)
    assert gaps.std() / gaps.mean() == pytest.approx(CV, rel=0.1)


@pytest.mark.parametrize("schedule", ["step", "gamma", "trace"])
def test_the_same_seed_sends_the_same(schedule: str, trace: Trace) -> None:
    one, same, other = (arrivals(Cell(schedule, 50), CAPACITY, SECONDS, rng(s), trace).times for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.all(np.diff(one) >= 0)
    assert 0 <= one[0] <= one[-1] < SECONDS


def test_a_trace_keeps_the_pattern_of_its_gaps(trace: Trace) -> None:
    count = 500
    times = of_trace(trace, count / 10.0, 10.0, rng(3))
    recorded = np.diff(trace.times, append=trace.duration)
    sent = np.diff(times)
    pieces = (np.roll(recorded, -i)[: len(sent)] for i in range(len(recorded)))
    assert sum(np.allclose(piece * (sent.sum() / piece.sum()), sent) for piece in pieces) == 1


def test_a_trace_that_is_too_short_goes_round(trace: Trace) -> None:
    count = 3 * len(trace.times)
    times = of_trace(trace, count / 30.0, 30.0, rng(3))
    assert len(times) == count
    gaps = np.diff(times)
    assert gaps[: len(trace.times)] == pytest.approx(gaps[len(trace.times) : 2 * len(trace.times)], abs=1e-9)


def test_a_trace_cell_needs_a_trace() -> None:
    with pytest.raises(InvalidValueError, match="--trace"):
        arrivals(Cell("trace", 50), CAPACITY, SECONDS, rng(), None)


def test_a_look_holds_the_highest_rate() -> None:
    times = hardest(Cell("step", 50), CAPACITY, SECONDS, rng(), None).times
    counts, _ = np.histogram(times, np.linspace(0, SECONDS, 7))
    assert counts / (SECONDS / 6) == pytest.approx([200.0] * 6, rel=0.15)


def test_runs_are_reported_by_thirds() -> None:
    phases = arrivals(Cell("step", 50), CAPACITY, SECONDS, rng(), None).phases
    assert [phase.start for phase in phases] == pytest.approx([0, 20, 40])
    assert [phase.end for phase in phases] == pytest.approx([20, 40, 60])
