"""Pilot: the steering process of one run, from this side: started and rehearsed, let go, its log brought home."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.live.outcome import Steered
from benchmarks.live.task import Task, read_log
from benchmarks.processes import read_line, running
from service.cli.demo.processes import READY_TIMEOUT_SECONDS, Child, ChildFailedError

#: A little less urgent than server and clients, as the demo's control service.
_NICENESS = 5
#: After the time is up: a reading or a change may just be under way.
_GRACE_SECONDS = 30.0
_ROOT = Path(__file__).parents[2]


class Pilot:
    """One steering process that is ready.

    Args:
        child: It.
        task: What it was given.
    """

    def __init__(self, child: Child, task: Task) -> None:
        self._child = child
        self._task = task

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.process.pid

    def begin(self) -> None:
        """Let it steer from now on, for the time that the task says."""
        self._tell("go")

    async def end(self) -> Steered:
        """What it did, once its time is up.

        Raises:
            ChildFailedError: It failed on the way; the message holds the end of its log.
        """
        await self._hear("done", self._task.seconds + _GRACE_SECONDS)
        return read_log(Path(self._task.log))

    def check_alive(self) -> None:
        """Raise ChildFailedError when it has ended."""
        self._child.check_alive()

    def _tell(self, line: str) -> None:
        writer = self._child.process.stdin
        if writer is None:
            raise ChildFailedError(f"the {self._child.name} does not listen")
        writer.write(f"{line}\n".encode())

    async def _hear(self, wanted: str, timeout_seconds: float) -> None:
        line = (await read_line(self._child, timeout_seconds)).decode().strip()
        if line != wanted:
            raise ChildFailedError(f"the {self._child.name} said {line!r} in place of {wanted!r}")


@asynccontextmanager
async def pilot(task: Task, log: Path) -> AsyncIterator[Pilot]:
    """Run a steering process until the block ends; it is ready when the block begins.

    Args:
        task: What it is to do.
        log: Where its messages go.

    Raises:
        ChildFailedError: It did not become ready.
    """
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Numerical libraries start a thread a core by default; they would fight the server.
    env = {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = ["nice", "-n", str(_NICENESS), sys.executable, "-m", task.program]
    async with running(f"steering process of {task.policy}", command, log, env=env, talk=True) as child:
        one = Pilot(child, task)
        one._tell(json.dumps(asdict(task)))
        await one._hear("ready", READY_TIMEOUT_SECONDS)
        yield one
