"""Capacity: how many requests a second the best of some likely configurations takes on a live server."""

from __future__ import annotations

from benchmarks.capacity import capacities
from benchmarks.progress import Progress
from benchmarks.servers import Node, batching_on
from service.domain.serving_config import ServingConfig

#: For each configuration.
SECONDS = 3.0


def likely(cpus: int) -> list[ServingConfig]:
    """Configurations of different kinds, one of which is near the best for most models."""
    base = batching_on(cpus)
    return [
        base,
        base.with_values(max_batch_size=64, num_batch_threads=1),
        base.with_values(num_batch_threads=1, tensorflow_intra_op_parallelism=cpus),
        base.with_values(max_batch_size=8, instances=cpus, num_batch_threads=1),
        ServingConfig(tensorflow_intra_op_parallelism=1),
    ]


async def capacity(model: str, node: Node, cpus: int, seconds: float) -> float:
    """What the best of :func:`likely` takes, requests a second.

    Args:
        model: Name of the model.
        node: Serves it.
        cpus: Processors of the node.
        seconds: For each configuration.
    """
    configs = likely(cpus)
    progress = Progress(len(configs))
    rates = await capacities(node, model, configs, seconds, progress)
    progress.close()
    return max(rates)
