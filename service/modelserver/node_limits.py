"""What the machine gives this process: processors and memory, as its cgroup and its affinity say.

Reading is separate from judging: :func:`cpus` and :func:`memory_bytes` are pure functions of file contents.
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
    """Processors that may be used.

    Args:
        read: Reads ``cpu.max`` (cgroup v2) or ``cpu/cpu.cfs_quota_us`` and ``cpu/cpu.cfs_period_us`` (v1).
        affinity: Processors that the scheduler may put this process on.

    Returns:
        The quota where there is one and it is smaller than the affinity; may be fractional.
    """
    quota = _quota_v2(read("cpu.max")) or _quota_v1(read("cpu/cpu.cfs_quota_us"), read("cpu/cpu.cfs_period_us"))
    return min(quota, float(affinity)) if quota else float(affinity)


def memory_bytes(read: Read) -> int | None:
    """Memory limit, from ``memory.max`` (cgroup v2) or ``memory/memory.limit_in_bytes`` (v1); None for none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = (read(name) or "").strip()
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return None


def read_cgroup(name: str) -> str | None:
    """Read a file of this process's cgroup, as it is mounted in a container."""
    try:
        return (_CGROUP / name).read_text()
    except OSError:
        return None


def node_cpus() -> float:
    """Processors that this process may use."""
    return cpus(read_cgroup, len(os.sched_getaffinity(0)))


def node_memory_bytes() -> int | None:
    """Memory that this process may use; None when there is no limit."""
    return memory_bytes(read_cgroup)


def _quota_v2(text: str | None) -> float | None:
    quota, _, period = (text or "").strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return int(quota) / int(period) or None


def _quota_v1(quota: str | None, period: str | None) -> float | None:
    quota, period = (quota or "").strip(), (period or "").strip()
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return int(quota) / int(period) or None
