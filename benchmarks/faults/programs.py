"""Programs: the processes that faults are injected into: killed, stopped and started again as often as asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from service.cli.demo.processes import Child

_GONE_SECONDS = 20.0


class Program:
    """One command line, run as one process at a time.

    Args:
        name: For messages and the names of logs.
        command: Program and arguments.
        folder: For logs, one a start.
        ready: Whether it can do its work.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, ready: Callable[[], Awaitable[bool]]) -> None:
        self._name = name
        self._command = command
        self._folder = folder
        self._ready = ready
        self._child: Child | None = None
        self._starts = 0

    @property
    def pid(self) -> int:
        """Its present process."""
        return self._running.process.pid

    @property
    def log(self) -> str:
        """The last lines that it wrote."""
        return self._running.log_tail()

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"the {self._name} was never started")
        return self._child

    async def start(self) -> None:
        """Start it; returns when it is ready.

        Raises:
            ChildFailedError: It ended, or was not ready in time.
        """
        await self.spawn()
        await self._running.wait_ready(self._ready)

    async def spawn(self) -> None:
        """Start it; returns at once."""
        self._starts += 1
        log = self._folder / f"{self._name}-{self._starts}.log"
        # Numerical libraries start a thread a core by default, all of which would compete with what is measured.
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        self._child = Child(self._name, process, log)

    async def ends(self, within: float) -> int | None:
        """Its exit status, should it end by itself within so many seconds; else None."""
        try:
            return await asyncio.wait_for(self._running.process.wait(), within)
        except TimeoutError:
            return None

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone. Idempotent."""
        if self._child is not None and self._child.process.returncode is None:
            self._child.process.kill()
            await self._child.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after a while. Idempotent."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.process.pid, signal.SIGCONT)
            await self._child.stop()


def regulus(*arguments: str) -> list[str]:
    """The command line of a ``regulus`` command."""
    return [sys.executable, "-m", "service.cli.main", *arguments]


async def kill_stranger(pid: int) -> None:
    """SIGKILL to a process that is not a child of ours; returns when it is gone."""
    descriptor = os.pidfd_open(pid)
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(gone.wait(), _GONE_SECONDS)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def until(condition: Callable[[], Awaitable[bool]], within: float, every: float = 0.05) -> bool:
    """Poll; whether it came true in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        if await condition():
            return True
        if loop.time() >= end:
            return False
        await asyncio.sleep(every)
