"""Capacity: how many requests a second a server takes under each of some configurations, and which are the slowest.

A node of processes takes a start for every change, the embedded server some milliseconds. Which configurations are
slow is a matter of TensorFlow and of the processors, which are the same in both; how much is taken is not, since Envoy
takes its share of the processors too. So the embedded server ranks them all, and the node itself is measured under
the slowest alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.progress import Progress
from benchmarks.servers import Node
from service.domain.serving_config import ServingConfig
from service.loadgen.closed_loop import run_closed_loop
from service.loadgen.payloads import RequestSpec

#: Clients that each wait for an answer before they ask again: enough to fill the batches.
_CLIENTS = 64
#: How many of the slowest by rank are measured on the node itself: neighbours may change places.
CANDIDATES = 2
_WARMUP_SECONDS = 0.5


async def capacities(
    node: Node, model: str, configs: Sequence[ServingConfig], seconds: float, progress: Progress
) -> list[float]:
    """What each configuration takes, requests a second, one after the other.

    Args:
        node: Is left with the last of them.
        model: What is asked.
        configs: Which.
        seconds: How long each is loaded.
        progress: Counts one step for each.

    Raises:
        BackendError, InfeasibleConfigError: One was not put in force.
        TargetError: The server does not answer.
    """
    rates = []
    for config in configs:
        progress.begin(f"capacity with {config.describe()}")
        await node.put(config)
        report = await run_closed_loop(
            node.grpc,
            RequestSpec(model=model),
            concurrency=_CLIENTS,
            duration=seconds,
            warmup=min(_WARMUP_SECONDS, seconds),
        )
        rates.append(report.throughput)
        progress.done()
    return rates


def slowest(configs: Sequence[ServingConfig], rates: Sequence[float], count: int = CANDIDATES) -> list[ServingConfig]:
    """Those that take least, the slowest first."""
    ranked = sorted(range(len(configs)), key=lambda index: rates[index])
    return [configs[index] for index in ranked[:count]]
