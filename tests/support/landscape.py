"""A seeded queueing simulation of a batching model server, to try policies against.

Requests arrive in a renewal process, wait for a batch by the rules of TensorFlow's batch scheduler, and are executed by
threads that share the processors. What comes out is a ``Window``, as telemetry would make it.

Notation: ``n`` batches in execution, each on ``d`` intra-op threads, ``c`` processors, ``b`` examples in a batch.

    work(b)  = call + fixed + example · b ** curve                 processor seconds of one batch
    speed(n) = [1 / ((1 − p) + p / d + sync · (d − 1))] · min(1, c / (n d)) / (1 + thrash · max(0, n d / c − 1))

It is simple on purpose and makes no claim to be any real machine; its parts are what the reference measurements show: a
price for each session call, intra-op threads that help large models and hurt small ones, threads that get in each
other's way, and one inter-op thread that runs one batch at a time.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.domain.histogram import Histogram, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.window import Window
from service.domain.workload import Workload

#: As the embedded server's fine histogram: 100 µs · 1.1^i up to a minute.
BOUNDS = exponential_bounds(1e-4, 1.1, 141)
#: TensorFlow Serving's buckets for batch sizes.
BATCH_BOUNDS = exponential_bounds(1, 2, 14)
#: Requests that may run at once with batching off, for each processor.
UNBATCHED_PER_CPU = 4


@dataclass(frozen=True)
class Model:
    """How much work a model is and how well threads share it (symbols in the module's docstring); times in seconds."""

    name: str
    call: float
    fixed: float
    example: float
    curve: float
    parallel: float
    sync: float
    thrash: float


#: Much overhead for each call, little work for each example, nothing to share: batching pays, intra-op threads hurt.
LIGHT = Model("light", call=4e-4, fixed=2e-4, example=6e-5, curve=1.0, parallel=0.3, sync=0.15, thrash=0.25)
#: Mostly convolutions: examples cost nearly their own price each, intra-op threads help a single request.
HEAVY = Model("heavy", call=4e-4, fixed=1.6e-3, example=2.4e-3, curve=0.93, parallel=0.85, sync=0.06, thrash=0.12)
#: A price for each call that batches share well, and moderate gains from intra-op threads.
MEDIUM = Model("medium", call=4e-4, fixed=3e-3, example=8e-4, curve=0.97, parallel=0.6, sync=0.1, thrash=0.2)


@dataclass(frozen=True)
class Landscape:
    """A model on a machine.

    Attributes:
        model: What is served.
        cpus: Processors.
        requests: Requests in one window.
        noise: Standard deviation of the logarithm of a factor that stretches all latencies of one window: what else
            the machine was doing.
        seed: Seeds arrivals; the noise is drawn from the generator handed to :meth:`window`.
    """

    model: Model
    cpus: int = 2
    requests: int = 1500
    noise: float = 0.05
    seed: int = 0

    def latencies(self, config: ServingConfig, workload: Workload, round_: int = 0) -> NDArray[np.float64]:
        """Latencies in seconds, NaN for refused requests, shape (requests,); without the noise."""
        return _simulate(replace(self, noise=0.0), config, workload, round_)[0]

    def tail(self, config: ServingConfig, workload: Workload, percentile: float = 0.99, rounds: int = 1) -> float:
        """The percentile over several windows without noise; refused requests count as the slowest. Seconds."""
        values = np.concatenate([self.latencies(config, workload, r) for r in range(rounds)])
        return float(np.quantile(np.nan_to_num(values, nan=BOUNDS[-1]), percentile))

    def window(
        self, config: ServingConfig, workload: Workload, rng: np.random.Generator, started_at: float = 0.0
    ) -> Window:
        """One noisy window under ``config``; arrivals and noise differ from call to call by ``rng``."""
        values, batches = _simulate(replace(self, noise=0.0), config, workload, int(rng.integers(8)))
        served = values[~np.isnan(values)] * float(np.exp(self.noise * rng.standard_normal()))
        measured = workload.rate_per_second * float(np.exp(0.02 * rng.standard_normal()))
        return Window(
            started_at=started_at,
            duration_seconds=self.requests / workload.rate_per_second,
            latency=Histogram.of(served.tolist(), BOUNDS),
            workload=replace(workload, rate_per_second=measured),
            succeeded=len(served),
            rejected=len(values) - len(served),
            batch_size=Histogram.of(batches, BATCH_BOUNDS) if config.enable_batching else None,
        )


@dataclass(frozen=True)
class _Machine:
    """What a configuration makes of the machine: ``slots`` batches at once, ``speeds[n]`` of each while n run."""

    slots: int
    speeds: tuple[float, ...]


def _machine(model: Model, config: ServingConfig, cpus: int) -> _Machine:
    threads = config.tensorflow_intra_op_parallelism or cpus
    inter = config.tensorflow_inter_op_parallelism or cpus
    if config.enable_batching:
        slots = min(config.num_batch_threads, inter) * config.instances
    else:
        slots = min(UNBATCHED_PER_CPU * cpus, inter * config.instances)
    alone = 1.0 / ((1 - model.parallel) + model.parallel / threads + model.sync * (threads - 1))
    # A thread that finds nothing to share in is idle: it does not press on the processors.
    demand = 1 + model.parallel * (threads - 1)
    speeds = [1.0]
    for n in range(1, slots + 1):
        pressure = n * demand / cpus
        speeds.append(alone * min(1.0, 1 / pressure) / (1 + model.thrash * max(0.0, pressure - 1)))
    return _Machine(slots, tuple(speeds))


@lru_cache(maxsize=50_000)
def _simulate(
    landscape: Landscape, config: ServingConfig, workload: Workload, round_: int
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Latencies, NaN for refused requests, and the examples of each executed batch."""
    arrivals = _arrivals(landscape, workload, round_)
    machine = _machine(landscape.model, config, landscape.cpus)
    model = landscape.model
    largest = config.max_batch_size if config.enable_batching else 1
    wait = config.batch_timeout_micros * 1e-6 if config.enable_batching else 0.0
    capacity = config.max_enqueued_batches * largest if config.enable_batching else 1 << 30
    examples = workload.examples_per_request
    work = [model.call + model.fixed + model.example * (b * examples) ** model.curve for b in range(largest + 1)]

    total = len(arrivals)
    times = arrivals.tolist()
    finished = np.full(total, np.nan)
    queue: list[int] = []  # requests that wait, oldest first
    head = 0  # index in ``queue`` of the oldest that still waits
    running: list[tuple[float, int, tuple[int, ...]]] = []  # (virtual finish, order, requests) of batches in execution
    now = virtual = 0.0  # virtual time: work that each batch in execution has received since the start
    following = order = 0
    sizes = []
    while following < total or head < len(queue) or running:
        waiting = len(queue) - head
        start = np.inf
        if waiting and len(running) < machine.slots:
            start = now if waiting >= largest else max(now, times[queue[head]] + wait)
        arrive = times[following] if following < total else np.inf
        speed = machine.speeds[len(running)]
        finish = now + (running[0][0] - virtual) / speed if running else np.inf
        moment = min(start, arrive, finish)
        virtual += (moment - now) * speed
        now = moment
        if finish <= moment:
            for request in heapq.heappop(running)[2]:
                finished[request] = now
        elif arrive <= moment:
            if waiting < capacity:
                queue.append(following)
            following += 1
        else:
            batch = tuple(queue[head : head + largest])
            head += len(batch)
            sizes.append(len(batch) * examples)
            heapq.heappush(running, (virtual + work[len(batch)], order, batch))
            order += 1
    return finished - arrivals, tuple(sizes)


@lru_cache(maxsize=256)
def _arrivals(landscape: Landscape, workload: Workload, round_: int) -> NDArray[np.float64]:
    """Arrival times, shape (requests,): a Gamma renewal process of the workload's rate and CV."""
    rng = np.random.default_rng([landscape.seed, round_])
    shape = 1 / max(workload.cv, 1e-3) ** 2
    return np.cumsum(rng.gamma(shape, 1 / (shape * workload.rate_per_second), landscape.requests))
