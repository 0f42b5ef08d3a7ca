"""The compiled queue against the batch scheduler it stands for, and against what queueing theory knows."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.learning import queue_kernel as q
from service.learning.queueing import Outcome, simulate, simulate_many
from service.modelserver.batching import BatchLimits, BatchScheduler
from service.modelserver.status import ServingError

Array = NDArray[np.float64]

BASE, SLOPE = 0.37103, 0.1131907


def setting(
    max_batch: float = 4,
    timeout: float = 0.0,
    slots: int = 1,
    max_enqueued: int = 1000,
    limit: int = 1000,
    timer_step: float = 0.0,
    direct: bool = False,
) -> Array:
    row = np.zeros(q.SETTING_COUNT)
    row[[q.DIRECT, q.MAX_BATCH, q.TIMEOUT, q.SLOTS, q.MAX_ENQUEUED, q.LIMIT, q.TIMER_STEP]] = (
        direct, max_batch, timeout, slots, max_enqueued, limit, timer_step
    )  # fmt: skip
    return row


def service(base: float = BASE, slope: float = SLOPE, cpus: float = 1e6, **more: float) -> Array:
    """A machine on which nothing gets in each other's way, unless ``more`` says so."""
    row = np.zeros(q.SERVICE_COUNT)
    row[[q.BASE, q.SLOPE, q.CURVE, q.DEMAND, q.CPUS]] = base, slope, 1.0, 1.0, cpus
    for name, value in more.items():
        row[getattr(q, name.upper())] = value
    return row


def run(
    arrivals: Array, settings_: Array, service_: Array, sizes: Array | None = None, pads: Array | None = None
) -> Outcome:
    n = len(arrivals)
    noise = np.random.default_rng(0).standard_normal((n, 3))
    return simulate(arrivals, np.ones(n) if sizes is None else sizes, noise, settings_, service_, pads)


def poisson(rate: float, count: int, seed: int = 0) -> Array:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


@dataclass(frozen=True)
class Oracle:
    """What the server's own scheduler makes of arrivals, driven in virtual time."""

    batches: list[list[int]]
    refused: set[int]
    latency: dict[int, float]

    @classmethod
    def of(cls, arrivals: Array, sizes: Array, limits: BatchLimits, threads: int) -> Oracle:
        scheduler: BatchScheduler[int] = BatchScheduler(limits)
        batches: list[list[int]] = []
        refused: set[int] = set()
        latency: dict[int, float] = {}
        running: list[tuple[float, int]] = []
        following = 0
        while True:
            ends = running[0][0] if running else np.inf
            arrives = arrivals[following] if following < len(arrivals) else np.inf
            due = scheduler.next_due() if len(running) < threads else None
            now = float(min(ends, arrives, np.inf if due is None else due))
            if now == np.inf:
                return cls(batches, refused, latency)
            if ends <= now:
                _, ended = heapq.heappop(running)
                latency.update({task: now - arrivals[task] for task in batches[ended]})
            elif arrives <= now:
                try:
                    scheduler.submit("s", following, int(sizes[following]), now)
                except ServingError:
                    refused.add(following)
                following += 1
            while len(running) < threads and (batch := scheduler.take(now)) is not None:
                heapq.heappush(running, (now + BASE + SLOPE * batch.size, len(batches)))
                batches.append([piece.task for piece in batch.pieces])


@settings(deadline=None, max_examples=300)
@given(
    gaps=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    sizes=st.lists(st.integers(1, 5), min_size=60, max_size=60),
    max_batch=st.integers(1, 6),
    timeout=st.sampled_from([0.0, 0.50177, 2.71828]),
    threads=st.integers(1, 3),
    max_enqueued=st.integers(1, 4),
)
def test_batches_and_refusals_are_those_of_the_batch_scheduler(
    gaps: list[int], sizes: list[int], max_batch: int, timeout: float, threads: int, max_enqueued: int
) -> None:
    arrivals = np.cumsum(np.array(gaps, dtype=float)) * 0.31
    examples = np.array(sizes[: len(gaps)], dtype=float)
    limits = BatchLimits(max_batch_size=max_batch, timeout=timeout, max_enqueued_batches=max_enqueued)
    oracle = Oracle.of(arrivals, examples, limits, threads)
    outcome = run(arrivals, setting(max_batch, timeout, threads, max_enqueued), service(), examples)
    assert {i for i, b in enumerate(outcome.batch) if b < 0} == oracle.refused
    batches = [np.flatnonzero(outcome.batch == k).tolist() for k in range(len(outcome.batch_sizes))]
    assert batches == oracle.batches
    assert outcome.batch_sizes.tolist() == [examples[batch].sum() for batch in batches]
    for task, seconds in oracle.latency.items():
        assert outcome.latency[task] == pytest.approx(seconds)
    assert np.isnan(outcome.latency).sum() == len(oracle.refused)


@settings(deadline=None, max_examples=200)
@given(
    gaps=st.lists(st.floats(0, 0.004), min_size=1, max_size=80),
    timeout=st.sampled_from([0.0, 1e-4, 0.001, 0.0025, 0.01]),
    max_batch=st.integers(1, 8),
    threads=st.integers(1, 3),
    loop=st.sampled_from([0.0, 2e-4, 1e-3]),
)
def test_nothing_is_lost_whatever_the_event_loop_and_its_timers_do(
    gaps: list[float], timeout: float, max_batch: int, threads: int, loop: float
) -> None:
    outcome = run(
        np.cumsum(np.array(gaps)),
        setting(max_batch, timeout, threads, limit=1, timer_step=1e-3),
        service(base=1e-3, slope=1e-4, cpus=2.0, jitter=0.2, sync=1e-4, hop=0.2, coupling=0.2, loop_in=loop),
    )
    assert outcome.batch_sizes.sum() == len(gaps)
    assert np.all(outcome.latency >= outcome.wait + outcome.execution - 1e-9)
    assert np.all(outcome.wait >= outcome.filling - 1e-9)
    assert np.all(outcome.filling <= timeout + 1.001e-3 + loop)


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_one_server_with_fixed_service_waits_as_pollaczek_and_khinchine_say(utilisation: float) -> None:
    arrivals = poisson(utilisation, 60_000)
    outcome = run(arrivals, setting(max_batch=1), service(base=1.0, slope=0.0))
    assert outcome.wait.mean() == pytest.approx(utilisation / (2 * (1 - utilisation)), rel=0.05)
    assert outcome.latency.mean() == pytest.approx(outcome.wait.mean() + 1.0)


def test_processor_sharing_answers_in_the_mean_of_theory() -> None:
    # M/D/1 under processor sharing: mean latency s / (1 − utilisation), whatever the distribution of the work.
    arrivals = poisson(0.6, 60_000)
    outcome = run(arrivals, setting(direct=True, slots=10_000), service(base=1.0, slope=0.0, cpus=1.0))
    assert outcome.latency.mean() == pytest.approx(2.5, rel=0.05)


def test_utilisation_is_load_times_service() -> None:
    # Little's law for the processor alone.
    outcome = run(poisson(0.7, 40_000), setting(max_batch=1), service(base=1.0, slope=0.0, cpus=1.0))
    assert outcome.busy == pytest.approx(0.7, rel=0.02)


def test_more_load_is_never_faster_on_average() -> None:
    unit = poisson(1.0, 5_000)
    means = [
        run(unit / rate, setting(max_batch=8, slots=2), service(cpus=2.0)).latency.mean() for rate in (0.5, 2, 4, 6)
    ]
    assert means == sorted(means)


def test_an_overloaded_server_falls_behind_by_what_it_cannot_do() -> None:
    slow = run(poisson(2.0, 4_000), setting(max_batch=1, max_enqueued=10_000), service(base=1.0, slope=0.0))
    enough = run(poisson(0.5, 4_000), setting(max_batch=1), service(base=1.0, slope=0.0))
    assert slow.growth == pytest.approx(0.5, abs=0.05)
    assert abs(enough.growth) < 0.01


def test_batches_on_one_processor_slow_each_other_down() -> None:
    arrivals = np.array([0.0, 0.0])
    together = run(arrivals, setting(direct=True, slots=2), service(base=1.0, slope=0.0, cpus=1.0))
    apart = run(arrivals, setting(direct=True, slots=2), service(base=1.0, slope=0.0, cpus=2.0))
    worse = run(arrivals, setting(direct=True, slots=2), service(base=1.0, slope=0.0, cpus=1.0, thrash=0.5))
    coupled = run(arrivals, setting(direct=True, slots=2), service(base=1.0, slope=0.0, cpus=2.0, coupling=0.25))
    assert together.latency.tolist() == pytest.approx([2.0, 2.0])
    assert apart.latency.tolist() == pytest.approx([1.0, 1.0])
    assert worse.latency.tolist() == pytest.approx([3.0, 3.0])
    assert coupled.latency.tolist() == pytest.approx([1.25, 1.25])


def test_with_one_inter_op_thread_batches_run_one_after_the_other() -> None:
    outcome = run(np.array([0.0, 0.0]), setting(max_batch=1, slots=2, limit=1), service(base=1.0, slope=0.0))
    assert outcome.latency.tolist() == pytest.approx([1.0, 2.0])
    assert outcome.wait.tolist() == [0.0, 0.0]
    assert outcome.execution.tolist() == pytest.approx([1.0, 2.0])


def test_the_event_loop_takes_one_request_at_a_time_and_processors_from_the_sessions() -> None:
    loop = {"loop_in": 0.25, "loop_out": 0.5}
    outcome = run(np.array([0.0, 0.0]), setting(direct=True, slots=2), service(base=1.0, slope=0.0, **loop))
    assert outcome.latency.tolist() == pytest.approx([1.75, 2.25])
    # The second decoding and the first execution share the processor from 0.25 on.
    shared = run(np.array([0.0, 0.0]), setting(direct=True, slots=2), service(base=1.0, slope=0.0, cpus=1.0, **loop))
    assert shared.latency[0] > 1.75


def test_requests_that_wait_for_a_thread_share_a_batch() -> None:
    outcome = run(np.array([0.0, 0.0, 0.0]), setting(max_batch=4), service(loop_in=0.1))
    # A free thread takes the first as soon as the event loop has read it.
    assert outcome.batch.tolist() == [0, 1, 1]


def test_a_session_with_inter_op_threads_asleep_is_slower() -> None:
    alone = run(np.array([0.0]), setting(direct=True, slots=2, limit=2), service(base=1.0, slope=0.0, hop=0.5))
    both = run(np.array([0.0, 0.0]), setting(direct=True, slots=2, limit=2), service(base=1.0, slope=0.0, hop=0.5))
    assert alone.latency.tolist() == pytest.approx([1.5])
    assert both.latency.tolist() == pytest.approx([1.0, 1.0])


def test_waking_intra_op_threads_costs_more_for_larger_batches_and_less_when_busy() -> None:
    awake = service(base=0.0, slope=0.0, sync=1.0)
    small, large = (run(np.array([0.0]), setting(max_batch=16), awake, np.array([size])) for size in (1.0, 16.0))
    assert small.latency[0] == pytest.approx(1.0)
    assert large.latency[0] == pytest.approx(2.0)
    busy = run(np.array([0.0, 0.0]), setting(direct=True, slots=2, limit=2), awake)
    assert busy.latency.tolist() == pytest.approx([1.0, q.AWAKE])


def test_waiting_to_fill_is_told_from_waiting_for_a_thread() -> None:
    outcome = run(np.array([0.0, 0.2, 5.0, 5.1]), setting(max_batch=2, timeout=1.0), service(base=8.0, slope=0.0))
    assert outcome.wait.tolist() == pytest.approx([0.2, 0.0, 3.2, 3.1])
    assert outcome.filling.tolist() == pytest.approx([0.2, 0.0, 0.0, 0.0])
    alone = run(np.array([0.0]), setting(max_batch=2, timeout=1.0), service())
    assert alone.filling.tolist() == alone.wait.tolist() == [1.0]


def test_timers_go_off_at_whole_steps() -> None:
    waits = {
        timeout: run(np.array([0.7]), setting(max_batch=2, timeout=timeout, timer_step=0.001), service()).wait[0]
        for timeout in (0.0005, 0.001, 0.0021)
    }
    assert list(waits.values()) == pytest.approx([0.001, 0.001, 0.003])


def test_batches_are_padded_to_allowed_sizes() -> None:
    arrivals, pads = np.array([0.0]), np.array([4.0, 8.0])
    outcome = run(arrivals, setting(max_batch=8), service(base=0.0, slope=1.0), np.array([3.0]), pads)
    assert outcome.latency[0] == pytest.approx(4.0)
    assert outcome.batch_sizes.tolist() == [3.0]


def test_without_batching_a_full_server_refuses() -> None:
    row = setting(direct=True, slots=1, max_enqueued=2)
    outcome = run(np.zeros(5), row, service(base=1.0, slope=0.0))
    assert np.isnan(outcome.latency).tolist() == [False, False, False, True, True]


def test_many_configurations_at_once_are_summed_up_as_each_alone() -> None:
    arrivals, count = poisson(3.0, 500), 500
    rows = [setting(max_batch=4, slots=2), setting(max_batch=2, timeout=0.5), setting(max_batch=1, max_enqueued=2)]
    services = [service(cpus=2.0, jitter=0.3), service(cpus=1.0, floor=0.1), service(base=2.0)]
    noise = np.random.default_rng(0).standard_normal((count, 3))
    levels = np.array([0.5, 0.99])
    many = simulate_many(arrivals, np.ones(count), noise, np.array(rows), np.zeros((3, 1)), np.array(services), levels)
    for row, settings_, service_ in zip(many, rows, services, strict=True):
        one = run(arrivals, settings_, service_)
        latency = np.nan_to_num(one.latency, nan=arrivals[-1])
        assert row[q.MEAN] == pytest.approx(latency.mean())
        assert row[q.MEAN_BATCH] == pytest.approx(one.batch_sizes.mean())
        assert row[q.MEAN_WAIT] == pytest.approx(np.nanmean(one.wait))
        assert row[q.REFUSED] == np.isnan(one.latency).mean()
        assert row[q.BUSY] == pytest.approx(one.busy)
        assert row[q.GROWTH] == pytest.approx(one.growth)
        assert row[q.RESULT_COUNT :] == pytest.approx(np.quantile(latency, levels))
    assert many[2, q.REFUSED] > 0
