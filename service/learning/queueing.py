"""Queueing: a discrete-event simulation of a batching model server, compiled, for thousands of configurations a second.

A request passes the event loop (a single thread that decodes, gathers and answers, one job at a time, in order), waits
for its batch by the rules of TensorFlow's ``SharedBatchScheduler``, and is executed with it:

1. The last batch of the queue is *open*. A task that does not fit closes it and opens the next, unless
   ``max_enqueued_batches`` wait already, the open one included; then it is refused.
2. A free batch thread takes the oldest closed batch; where there is none, the open one if it is full or its oldest task
   has waited ``timeout`` seconds. The event loop's timers count in steps, rounded up.
3. Batches in execution, and the event loop, share the processors. With n batches that want d processors each, c
   processors and l = 1 while the loop works, every batch runs at

       speed = min(1, (c − l) / (n d))
               / (1 + thrash · max(0, (n d + l) / c − 1) + coupling · min(max(0, n d − 1), c − 1))
               / (1 + hop · (limit − n) / (limit − 1))

   and the loop at full speed: it sleeps often, so the operating system favours it. No more than ``limit`` batches
   progress at once (inter-op threads), the others hold their batch thread and wait in order; while fewer do, threads
   are asleep and waking them costs time (hop).
4. With batching off every request is a batch of its own, and a thread that ends takes the next without the event loop.

A batch of b examples takes (base + sync · a · b^¼ + slope · b^curve) · jitter seconds alone on the machine, where
a = 1, or less when as many batches run as can, because threads that hardly sleep are cheap to wake.

The same arrivals and the same random numbers serve all configurations, so that their differences are their own.
The first call in a process loads the compiled kernel (0.1 s), or compiles it (2 to 3 s) where none is kept yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.learning import queue_kernel as q

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run's requests.

    Attributes:
        latency: Seconds from arrival to answer, NaN where refused; shape (n,).
        wait: Seconds from entering the batch queue until the batch was taken, NaN where refused; shape (n,).
        batch: Number of the batch that held the request, −1 where refused; shape (n,).
        filling: The part of ``wait`` during which a batch thread was free: waiting for company; shape (n,).
        execution: Seconds from taking the batch to its end, NaN where refused; shape (n,).
        batch_sizes: Examples of each executed batch, in the order of execution; shape (m,).
        busy: Share of the processors that was in use, from 0 to the last answer.
        growth: Requests by which the system filled, for each arrival of the second half; near 0 where it keeps up,
            tending to 1 − 1/utilisation where it does not.
    """

    latency: Array
    wait: Array
    batch: NDArray[np.int64]
    filling: Array
    execution: Array
    batch_sizes: Array
    busy: float
    growth: float


def simulate(
    arrivals: Array, sizes: Array, noise: Array, settings: Array, service: Array, pads: Array | None = None
) -> Outcome:
    """One configuration, in detail.

    Args:
        arrivals: Ascending seconds ≥ 0, shape (n,).
        sizes: Examples of each request, shape (n,).
        noise: See :class:`service.learning.sample_load.SampleLoad`, shape (n, 3).
        settings: Shape (``queue_kernel.SETTING_COUNT``,); ``MAX_BATCH`` in examples, times in seconds.
        service: Shape (``queue_kernel.SERVICE_COUNT``,); times in seconds.
        pads: Ascending sizes that batches are padded up to, shape (k,); None for no padding.
    """
    n = len(arrivals)
    latency, wait, filling, batch_sizes, execution = np.full((5, n), np.nan)
    batch = np.full(n, -1, dtype=np.int64)
    batches, busy, growth = q.run(
        arrivals,
        sizes,
        noise,
        settings,
        np.zeros(1) if pads is None else pads,
        service,
        latency,
        wait,
        batch,
        filling,
        execution,
        batch_sizes,
        np.empty((4, n + 2)),
        np.empty((4, 3 * n + 2), dtype=np.int64),
    )
    of_request = np.where(batch >= 0, execution[batch], np.nan)
    return Outcome(latency, wait, batch, filling, of_request, batch_sizes[:batches].copy(), busy, growth)


def simulate_many(
    arrivals: Array,
    sizes: Array,
    noise: Array,
    settings: Array,
    pads: Array,
    services: Array,
    quantiles: Array,
) -> Array:
    """Many configurations under the same arrivals, each summed up.

    Args:
        arrivals: As for :func:`simulate`, shape (n,).
        sizes: Shape (n,).
        noise: Shape (n, 3).
        settings: Shape (r, ``queue_kernel.SETTING_COUNT``).
        pads: Shape (r, k); ascending sizes, filled up with zeros; all zero for no padding.
        services: Shape (r, ``queue_kernel.SERVICE_COUNT``).
        quantiles: Ascending, in (0, 1), shape (q,).

    Returns:
        Shape (r, ``queue_kernel.RESULT_COUNT`` + q): means of latency, batch size, wait; share refused; share of the
        processors in use; growth of the backlog; then the quantiles of the latency. Refused requests count as if they
        had taken as long as the whole run.
    """
    results = np.empty((len(settings), q.RESULT_COUNT + len(quantiles)))
    q.run_many(arrivals, sizes, noise, settings, pads, services, quantiles, results)
    return results
