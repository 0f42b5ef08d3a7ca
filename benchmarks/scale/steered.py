"""Steered: the control service's supervisor over given models for a while, in a process of its own, and what it cost.

``python -m benchmarks.scale.steered``: a task as JSON on standard input, the findings as JSON on standard output. All
parts are the real ones; the clock that they are given also notes how late each loop is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from service import __version__
from service.control.settings import LoopSettings, ModelSettings
from service.control.supervisor import Supervisor
from service.domain.clock import SystemClock
from service.store import Store
from service.telemetry.own_metrics import ControlMetrics

#: Models whose names begin so misbehave; they are told apart.
BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to do; JSON-ready.

    Attributes:
        models: Settings of the models.
        loop: Settings of the loop that are not the defaults.
        warm_up_seconds: From the start until anything is counted: the search after a cold start.
        seconds: How long is counted.
        database: Path of the history.
    """

    models: list[dict[str, Any]]
    loop: dict[str, Any]
    warm_up_seconds: float
    seconds: float
    database: str


class LateClock(SystemClock):
    """The machine's clock. Notes how much longer than its interval each loop's round took, by kind of task.

    A round of a task is what lies between two of its sleeps; a loop that did nothing and was woken in time is 0 late.
    """

    def __init__(self) -> None:
        self.late: dict[tuple[str, bool], list[float]] = defaultdict(list)
        """Seconds by (task: ``watch`` or ``steer``, whether the model misbehaves)."""
        self._woken: dict[str, tuple[float, float]] = {}

    def forget(self) -> None:
        """Count from here."""
        self.late.clear()

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await super().sleep(seconds)
        task = asyncio.current_task()
        kind, _, model = (task.get_name() if task else "").partition(":")
        now = self.monotonic()
        before = self._woken.get(f"{kind}:{model}")
        if before is not None:
            self.late[kind, model.startswith(BAD)].append(now - before[0] - seconds)
        self._woken[f"{kind}:{model}"] = (now, seconds)


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def carry_out(task: Task) -> dict[str, Any]:
    """Steer, and return what was found."""
    clock = LateClock()
    store = await asyncio.to_thread(Store.open, f"sqlite:///{task.database}")
    supervisor = Supervisor(
        [ModelSettings.model_validate(model) for model in task.models],
        LoopSettings.model_validate(task.loop),
        store,
        metrics=ControlMetrics(CollectorRegistry(), version=__version__),
        clock=clock,
    )
    begun = time.monotonic()
    await supervisor.start()
    try:
        while True:
            if "starting" not in supervisor.ready()[1].values():
                break
            await asyncio.sleep(0.05)
        started = time.monotonic() - begun
        await asyncio.sleep(task.warm_up_seconds)
        clock.forget()
        cpu, since = time.process_time(), time.monotonic()
        await asyncio.sleep(task.seconds)
        seconds, cpu = time.monotonic() - since, time.process_time() - cpu
        problems = supervisor.ready()[1]
        statuses = [supervisor.status(name) for name in supervisor.names() if not name.startswith(BAD)]
        return {
            "models": len(statuses),
            "start_seconds": started,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "resident_bytes": resident_bytes(),
            "late": {f"{kind}{':bad' if bad else ''}": values for (kind, bad), values in clock.late.items()},
            "judged": sum(status.observations for status in statuses),
            "ill": sorted({line for name, line in problems.items() if line != "ok" and not name.startswith(BAD)})[:5],
            "bad": {name: line for name, line in problems.items() if name.startswith(BAD)},
        }
    finally:
        await supervisor.stop()
        store.close()


def main() -> None:
    """The program."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(json.dumps(asyncio.run(carry_out(Task(**json.loads(sys.stdin.read()))))))


if __name__ == "__main__":
    main()
