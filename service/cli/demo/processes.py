"""Child processes of the demo: started, watched until ready, and ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

#: Long enough for TensorFlow's import and a model load on a slow machine.
READY_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 15.0


class ChildFailedError(Exception):
    """A child process ended or did not become ready; the message holds the last lines of its log."""


class Child:
    """One ``regulus`` subcommand in a process of its own.

    It gets a session of its own, so that Ctrl-C reaches the demo alone, which then ends its children in order.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], log: Path, *, capture_stdout: bool = False, niceness: int = 0
    ) -> Child:
        """Run ``regulus ARGUMENTS``.

        Args:
            name: For messages.
            arguments: Of the ``regulus`` command.
            log: Where standard error goes, and standard output unless it is captured.
            capture_stdout: Whether :attr:`stdout` can be read.
            niceness: Lower priority for work that must not disturb the server that is being measured.
        """
        nice = ["nice", "-n", str(niceness)] if niceness else []
        # Numerical libraries start a thread a core by default; on a small machine they would fight the server.
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *nice,
                sys.executable,
                "-m",
                "service.cli.main",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if capture_stdout else output,
                stderr=output,
                env=env,
                start_new_session=True,
                limit=1 << 20,
            )
        return cls(name, process, log)

    @property
    def stdout(self) -> asyncio.StreamReader:
        """Standard output, where it is captured."""
        if self.process.stdout is None:
            raise ValueError(f"standard output of {self.name} is not captured")
        return self.process.stdout

    async def wait_ready(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Poll until ready.

        Raises:
            ChildFailedError: The process ended, or was not ready in time.
        """
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                while not await is_ready():
                    self.check_alive()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ChildFailedError(
                f"the {self.name} was not ready within {READY_TIMEOUT_SECONDS:.0f} s:\n{self.log_tail()}"
            ) from None

    def check_alive(self) -> None:
        """Raise ChildFailedError when the process has ended."""
        if self.process.returncode is not None:
            raise ChildFailedError(f"the {self.name} ended with status {self.process.returncode}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    async def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL after a while. Idempotent."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
