"""Limits: processors and memory of this node, as its cgroup, its affinity and the kernel say.

Reading is separate from judging: the functions that take a ``read`` are pure.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.errors import HeadRoomError

#: A memory limit at least this large is the kernel's way of saying "none" (cgroup v1).
_UNLIMITED = 1 << 60

_CGROUP = Path("/sys/fs/cgroup")

#: A process of the server takes so much beside its model: code, buffers, thread stacks.
BASE_BYTES = 256 << 20
#: What a model takes in memory, as a multiple of its size on disk: weights, and working memory of the operations.
MODEL_FACTOR = 2.0
#: Share of the free memory that a new generation may take; the rest is for the batches of both.
USABLE_SHARE = 0.9

_INSTANCES = 16

Read = Callable[[str], str | None]
"""Content of a file below the cgroup's folder; None where it does not exist."""


def cpus(read: Read, affinity: int) -> float:
    """Processors that may be used: the quota of cgroup v2 or v1 where it is smaller than the affinity."""
    quota = _quota(*(read("cpu.max") or "").split()[:2]) or _quota(
        read("cpu/cpu.cfs_quota_us") or "", read("cpu/cpu.cfs_period_us") or ""
    )
    return min(quota, float(affinity)) if quota else float(affinity)


def memory_limit(read: Read) -> int | None:
    """Memory limit of cgroup v2 or v1, bytes; None for none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = (read(name) or "").strip()
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return None


def memory_in_use(read: Read) -> int:
    """Memory of the cgroup that cannot be had by dropping cached files, bytes; 0 where it is not told."""
    for folder, names in (
        ("", ("memory.current", "memory.stat")),
        ("memory/", ("memory.usage_in_bytes", "memory.stat")),
    ):
        used = (read(folder + names[0]) or "").strip()
        if used.isdigit():
            return max(int(used) - _inactive_files(read(folder + names[1]) or ""), 0)
    return 0


def free_memory(read: Read, meminfo: str) -> int | None:
    """Memory that could still be taken, bytes: the cgroup's, or where it has no limit the machine's; None if untold."""
    limit = memory_limit(read)
    available = next(
        (int(line.split()[1]) << 10 for line in meminfo.splitlines() if line[:13] == "MemAvailable:"), None
    )
    if limit is None:
        return available
    left = max(limit - memory_in_use(read), 0)
    return left if available is None else min(left, available)


def check_head_room(processes: int, model_bytes: int, measured_bytes: int, free_bytes: int | None) -> None:
    """Refuse a change for which there is no memory while the old generation still serves.

    Args:
        processes: Server processes that would run beside those there are.
        model_bytes: Size of the model on disk.
        measured_bytes: Largest memory of a process that runs now; 0 while none does.
        free_bytes: From :func:`free_memory`; None allows everything.

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


def read_cgroup(name: str) -> str | None:
    """Read a file of this process's cgroup, as it is mounted in a container."""
    try:
        return (_CGROUP / name).read_text()
    except OSError:
        return None


def node_cpus() -> float:
    """Processors that this node may use."""
    return cpus(read_cgroup, len(os.sched_getaffinity(0)))


def node_free_memory() -> int | None:
    """Memory that this node could still take, bytes; None if untold."""
    try:
        meminfo = Path("/proc/meminfo").read_text()
    except OSError:
        meminfo = ""
    return free_memory(read_cgroup, meminfo)


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


def _quota(quota: str = "", period: str = "") -> float | None:
    quota, period = quota.strip(), period.strip()
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return int(quota) / int(period) or None


def _inactive_files(stat: str) -> int:
    fields = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
    return int(fields.get("total_inactive_file", fields.get("inactive_file", "0")))
