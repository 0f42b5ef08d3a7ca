"""Quiet: how much of the machine goes to work that has nothing to do with the measurement, and waiting until it stops.

Linux only: it reads ``/proc/stat`` and ``/proc/PID/stat``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.domain.clock import Clock

_TICKS = os.sysconf("SC_CLK_TCK")
#: Seconds over which quiet is judged before a measurement.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Processor seconds since boot or since the processes began.

    Attributes:
        machine: Time that some processor worked.
        own: Of each process of the measurement.
    """

    machine: float
    own: tuple[float, ...]


class CpuMeter:
    """Reads processor times.

    Args:
        pids: The processes of the measurement.
        cpus: Processors of the machine.
    """

    def __init__(self, pids: Sequence[int], cpus: int) -> None:
        self._pids = tuple(pids)
        self._cpus = cpus

    def read(self) -> CpuTimes:
        """The times now."""
        return CpuTimes(_machine_seconds(), tuple(_process_seconds(pid) for pid in self._pids))

    def foreign_share(self, before: CpuTimes, after: CpuTimes, seconds: float) -> float:
        """Share of all processors' time between two readings that went elsewhere, 0 to 1."""
        own = sum(after.own) - sum(before.own)
        return min(max((after.machine - before.machine - own) / (self._cpus * seconds), 0.0), 1.0)

    async def wait_quiet(self, clock: Clock, share: float, patience_seconds: float) -> bool:
        """Wait until others use less than ``share`` of the machine; False when that did not happen in time."""
        end = clock.monotonic() + patience_seconds
        while True:
            started, before = clock.monotonic(), self.read()
            await asyncio.sleep(_LOOK_SECONDS)
            now = clock.monotonic()
            if self.foreign_share(before, self.read(), now - started) < share:
                return True
            if now >= end:
                return False


def _machine_seconds() -> float:
    line = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) for value in line[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _process_seconds(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS
