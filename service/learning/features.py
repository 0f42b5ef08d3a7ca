"""Features: a configuration under a load, as the surrogate sees it.

Not the knobs' own values but what they come to, in steps of a factor of two, so that configurations which must behave
alike look alike and share what was learnt:

- A limit that is never reached is no limit: beyond ``reach``, the size that batches grow to, larger limits are equal.
- A batch waits until it is full or its time is out, whichever comes first, and what matters is that wait against t.
- What presses on the processors is a product: intra-op threads × batches in execution × instances, where batches in
  execution need an inter-op thread each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from service.domain.serving_config import ServingConfig

#: An intra-op count of 0 lets TensorFlow count processors. It sees the host's, not the quota's, so it stands a little
#: above "as many as there are" (tensorflow/serving issues #340, #1998).
AUTO_STEPS = 0.25

#: Feature names in order, with the distance over which a configuration's behaviour is expected to change a good deal:
#: the medians of the prior of the kernel's length scales.
LENGTH_SCALES: dict[str, float] = {
    "batch": 4.0,
    "wait": 2.5,
    "slots": 1.5,
    "inter": 6.0,
    "intra": 1.5,
    "instances": 3.0,
    "pressure": 2.0,
    "unbatched": 1.0,
    "log_rate": 1.0,
    "log_cv": 1.5,
    "log_examples": 1.0,
}

#: Column of :func:`knobs` that holds the pressure on the processors.
PRESSURE = 6

Array = NDArray[np.float64]


def knobs(configs: Iterable[ServingConfig], cpus: float) -> Array:
    """What :func:`features` needs of each configuration, shape (n, 8): computed once for a whole space.

    Columns: batch limit in examples, timeout in seconds; base-2 logarithms of slots, inter-op threads, intra-op
    threads and instances; their pressure on ``cpus`` processors; 1 where batching is off.
    """
    processors = math.log2(max(cpus, 1.0))
    return np.array([_knobs(config, processors) for config in configs]).reshape(-1, 8)


def _knobs(config: ServingConfig, processors: float) -> tuple[float, ...]:
    intra = _log2_or(config.tensorflow_intra_op_parallelism, processors + AUTO_STEPS)
    inter = _log2_or(config.tensorflow_inter_op_parallelism, processors)
    instances = math.log2(config.instances)
    # Without batching every request is executed at once: as many slots as inter-op threads.
    slots = math.log2(config.num_batch_threads) if config.enable_batching else inter
    return (
        config.max_batch_size if config.enable_batching else 1.0,
        config.batch_timeout_micros * 1e-6 if config.enable_batching else 0.0,
        slots,
        inter,
        intra,
        instances,
        intra + min(slots, inter) + instances - processors,
        0.0 if config.enable_batching else 1.0,
    )


def wait_seconds(knobs: Array, contexts: Array) -> Array:
    """How long the oldest request of a batch waits for company: until the batch is full or the time is out.

    Args:
        knobs: Shape (n, 8), from :func:`knobs`.
        contexts: Shape (n, 3) or (3,): :attr:`Context.vector` of each.
    """
    examples_per_second = np.exp(contexts[..., 0] + contexts[..., 2])
    return np.minimum(knobs[:, 1], (knobs[:, 0] - 1) / examples_per_second)


def features(knobs: Array, contexts: Array, least_tail: float, reach: float) -> Array:
    """Inputs of the surrogate, in the order of :data:`LENGTH_SCALES`.

    Args:
        knobs: Shape (n, 8), from :func:`knobs`.
        contexts: Shape (n, 3) or (3,): :attr:`Context.vector` of each.
        least_tail: The least tail known, seconds.
        reach: How large batches grow, examples; infinite where it is not known.

    Returns:
        Shape (n, 11).
    """
    contexts = np.broadcast_to(contexts, (len(knobs), 3))
    batch = np.log2(np.minimum(knobs[:, 0], reach))
    wait = np.log2(1 + 4 * wait_seconds(knobs, contexts) / least_tail)
    return np.column_stack([batch, wait, knobs[:, 2:], contexts])


def _log2_or(value: int, auto: float) -> float:
    return math.log2(value) if value else auto
