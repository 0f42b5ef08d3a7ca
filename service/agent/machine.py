"""Machine: processors and memory of this node, as its cgroup, its affinity and the kernel say.

Reading is separate from judging: the functions that take a ``read`` are pure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

#: A memory limit at least this large is the kernel's way of saying "none" (cgroup v1).
_UNLIMITED = 1 << 60

_CGROUP = Path("/sys/fs/cgroup")

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


def total_memory(read: Read, meminfo: str) -> int | None:
    """All memory there is for this node, bytes: the machine's, or the cgroup's limit where that is less."""
    limits = [limit for limit in (memory_limit(read), _meminfo(meminfo, "MemTotal:")) if limit is not None]
    return min(limits, default=None)


def free_memory(read: Read, meminfo: str) -> int | None:
    """Memory that could still be taken, bytes: the cgroup's, or where it has no limit the machine's; None if untold."""
    limit = memory_limit(read)
    available = _meminfo(meminfo, "MemAvailable:")
    if limit is None:
        return available
    left = max(limit - _memory_in_use(read), 0)
    return left if available is None else min(left, available)


def node_cpus() -> float:
    """Processors that this node may use."""
    return cpus(_read_cgroup, len(os.sched_getaffinity(0)))


def node_memory_limit() -> int | None:
    """Memory that this node may use, bytes; None for no limit."""
    return memory_limit(_read_cgroup)


def node_free_memory() -> int | None:
    """Memory that this node could still take, bytes; None if untold."""
    return free_memory(_read_cgroup, _read_meminfo())


def node_total_memory() -> int | None:
    """All memory there is for this node, bytes; None if untold."""
    return total_memory(_read_cgroup, _read_meminfo())


def _read_meminfo() -> str:
    try:
        return Path("/proc/meminfo").read_text()
    except OSError:
        return ""


def _meminfo(meminfo: str, name: str) -> int | None:
    """A line of the kernel's, bytes; None where it is not there."""
    return next((int(line.split()[1]) << 10 for line in meminfo.splitlines() if line.startswith(name)), None)


def _memory_in_use(read: Read) -> int:
    """Memory of the cgroup that cannot be had by dropping cached files, bytes; 0 where it is not told."""
    for folder, name in (("", "memory.current"), ("memory/", "memory.usage_in_bytes")):
        used = (read(folder + name) or "").strip()
        if used.isdigit():
            return max(int(used) - _inactive_files(read(f"{folder}memory.stat") or ""), 0)
    return 0


def _read_cgroup(name: str) -> str | None:
    """A file of this process's cgroup, as it is mounted in a container."""
    try:
        return (_CGROUP / name).read_text()
    except OSError:
        return None


def _quota(quota: str = "", period: str = "") -> float | None:
    quota, period = quota.strip(), period.strip()
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return int(quota) / int(period) or None


def _inactive_files(stat: str) -> int:
    fields = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
    return int(fields.get("total_inactive_file", fields.get("inactive_file", "0")))
