"""Capacity: how many requests a second the best of some likely configurations takes on a live server."""

from __future__ import annotations

from benchmarks.progress import Progress
from benchmarks.servers import Node, batching_on
from service.domain.serving_config import ServingConfig
from service.loadgen.closed_loop import run_closed_loop
from service.loadgen.payloads import RequestSpec

#: Clients that each wait for an answer before they ask again: enough to fill the batches.
_CLIENTS = 64
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


async def capacity(model: str, node: Node, cpus: int, seconds: float = SECONDS) -> float:
    """What the best of :func:`likely` takes, requests a second.

    Args:
        model: Name of the model.
        node: Serves it.
        cpus: Processors of the node.
        seconds: For each configuration.
    """
    found = []
    configs = likely(cpus)
    progress = Progress(len(configs))
    for config in configs:
        progress.begin(f"capacity with {config.describe()}")
        await node.put(config)
        report = await run_closed_loop(node.grpc, RequestSpec(model=model), concurrency=_CLIENTS, duration=seconds)
        found.append(report.throughput)
        progress.done()
    progress.close()
    return max(found)
