"""Limits: what this node can run on its processors, and what fits into its memory."""

from __future__ import annotations

import math
from pathlib import Path

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.errors import HeadRoomError

#: A process of the server takes so much beside its model: code, buffers, thread stacks.
BASE_BYTES = 256 << 20
#: What a model takes in memory, as a multiple of its size on disk: weights, and working memory of the operations.
MODEL_FACTOR = 2.0
#: Share of the free memory that a new generation may take; the rest is for the batches of both.
USABLE_SHARE = 0.9

_INSTANCES = 16


def check_whole_memory(instances: int, model_bytes: int, total_bytes: int | None) -> None:
    """Refuse what this node can never run: what more than fills its memory with nothing but the model.

    Args:
        instances: Server processes.
        model_bytes: Size of the model on disk.
        total_bytes: From :func:`service.agent.machine.node_total_memory`; None allows everything.

    Raises:
        InfeasibleConfigError: Names the knob, and says how much there is.
    """
    needed = instances * model_bytes
    if total_bytes is not None and needed > total_bytes:
        raise InfeasibleConfigError(
            "instances",
            f"times the model's size is {needed >> 20} MiB, more than all memory of this node, {total_bytes >> 20} MiB",
        )


def check_head_room(processes: int, model_bytes: int, measured_bytes: int, free_bytes: int | None) -> None:
    """Refuse a change for which there is no memory now, while the old generation still serves.

    Args:
        processes: Server processes that would run beside those there are.
        model_bytes: Size of the model on disk.
        measured_bytes: Largest memory of a process that runs now; 0 while none does.
        free_bytes: From :func:`service.agent.machine.free_memory`; None allows everything.

    Raises:
        HeadRoomError: Says how much is needed and how much there is.
    """
    if free_bytes is None or processes <= 0:
        return
    each = max(measured_bytes, round(model_bytes * MODEL_FACTOR) + BASE_BYTES)
    needed, usable = processes * each, round(free_bytes * USABLE_SHARE)
    if needed > usable:
        raise HeadRoomError(
            f"needs about {needed >> 20} MiB for {processes} more server process(es) of {each >> 20} MiB while the old "
            f"ones still serve, and {usable >> 20} MiB can be taken"
        )


def knob_bounds(cpu_count: float, initial: ServingConfig) -> dict[str, tuple[int, int]]:
    """Lowest and highest value of each knob. More threads than these only fight over the processors.

    What the user started with is always allowed. A max_batch_size of 0 stands for batching off.
    """
    whole = math.ceil(cpu_count)
    threads = max(2, whole)
    bounds = {
        "max_batch_size": (0, 1 << 16),
        "batch_timeout_micros": (0, 60_000_000),
        "num_batch_threads": (1, 4 * threads),
        "tensorflow_inter_op_parallelism": (0, threads),
        "tensorflow_intra_op_parallelism": (0, threads),
        "instances": (1, min(_INSTANCES, threads)),
    }
    return {name: (low, max(high, getattr(initial, name))) for name, (low, high) in bounds.items()}


def check_feasible(config: ServingConfig, bounds: dict[str, tuple[int, int]], cpu_count: float) -> None:
    """Refuse what this node cannot run well.

    Raises:
        InfeasibleConfigError: Names the knob.
    """
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise InfeasibleConfigError(name, f"must lie between {low} and {high} on this node, not {value}")
    batches = config.instances * (config.num_batch_threads if config.enable_batching else 1)
    most = max(8 * math.ceil(cpu_count), bounds["num_batch_threads"][1])
    if batches > most:
        raise InfeasibleConfigError(
            "num_batch_threads",
            f"times instances is {batches} batches at once, more than {most} on {cpu_count:g} processors",
        )


def process_memory(pid: int) -> int:
    """Memory of a process that is its own, bytes; 0 where it is gone. Files it has mapped can be dropped."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))


def size_on_disk(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where it is gone."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0
