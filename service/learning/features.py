"""Features: a configuration as the surrogate sees it.

Most are the grid coordinates of RRL, in steps of a factor of two so that configurations off the lattice have them too.
One is derived: how many threads want a processor when all is busy. It lets configurations that reach the same
parallelism by different knobs (intra-op threads, batch threads, instances) share what was learnt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.serving_config import ServingConfig
from service.learning.context import Context

#: A thread count of 0 lets TensorFlow count processors. It sees the host's, not the quota's, so it stands a little
#: above "as many as there are" (tensorflow/serving issues #340, #1998).
AUTO_STEPS = 0.5

#: Feature names in order, with the distance in feature units over which behaviour is expected to change by about its
#: full range: the median of the prior of the kernel's length scales.
LENGTH_SCALES: dict[str, float] = {
    "batch": 4.0,
    "wait": 2.0,
    "slots": 2.0,
    "inter": 3.0,
    "intra": 1.5,
    "instances": 2.0,
    "pressure": 2.0,
    "unbatched": 2.0,
    "log_rate": 1.0,
    "log_cv": 1.5,
    "log_examples": 1.0,
}


@dataclass(frozen=True, slots=True)
class Embedding:
    """Maps configurations to features on a node with ``cpus`` processors."""

    cpus: float

    def config(self, config: ServingConfig) -> tuple[float, ...]:
        """The configuration's own features, in the order of :data:`LENGTH_SCALES`."""
        auto = math.log2(max(self.cpus, 1.0)) + AUTO_STEPS
        intra = _log2_or(config.tensorflow_intra_op_parallelism, auto)
        inter = _log2_or(config.tensorflow_inter_op_parallelism, auto)
        instances = math.log2(config.instances)
        # Without batching every request is executed at once: as many slots as anybody would allow.
        slots = math.log2(config.num_batch_threads) if config.enable_batching else auto + 1
        return (
            math.log2(config.max_batch_size) if config.enable_batching else 0.0,
            math.log2(1 + config.batch_timeout_micros / 500),
            slots,
            inter,
            intra,
            instances,
            intra + min(slots, inter) + instances - math.log2(max(self.cpus, 1.0)),
            0.0 if config.enable_batching else 1.0,
        )

    def rows(self, configs: Sequence[ServingConfig]) -> NDArray[np.float64]:
        """Features of several configurations, shape (n, 8)."""
        return np.array([self.config(config) for config in configs]).reshape(len(configs), -1)


def wait_seconds(config: ServingConfig, context: Context) -> float:
    """How long the oldest request of a batch waits for company: until the batch is full or the time is out."""
    if not config.enable_batching:
        return 0.0
    examples = math.exp(context.log_rate + context.log_examples)
    filling = (config.max_batch_size - 1) / max(examples, 1e-9)
    return min(config.batch_timeout_micros * 1e-6, filling)


def _log2_or(value: int, auto: float) -> float:
    return math.log2(value) if value else auto
