"""Processes that are measured: started, ended with all that they started themselves; and the models they serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from service.cli.demo.processes import Child, ChildFailedError


@asynccontextmanager
async def running(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    talk: bool = False,
) -> AsyncIterator[Child]:
    """Run a command until the block ends; whatever is left of its process group is then killed.

    Args:
        name: For messages.
        command: Program and arguments.
        log: Where its output goes.
        env: Additions to the environment.
        talk: Whether standard input and output are pipes of ours.
    """
    pipe = asyncio.subprocess.PIPE
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe if talk else asyncio.subprocess.DEVNULL,
            stdout=pipe if talk else output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    child = Child(name, process, log)
    try:
        yield child
    finally:
        await child.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def read_line(child: Child, timeout_seconds: float) -> bytes:
    """The next line of a child's standard output.

    Raises:
        ChildFailedError: It ended, or said nothing in time.
    """
    try:
        line = await asyncio.wait_for(child.stdout.readline(), timeout_seconds)
    except TimeoutError:
        raise ChildFailedError(
            f"the {child.name} said nothing for {timeout_seconds:g} s:\n{child.log_tail()}"
        ) from None
    if not line:
        raise ChildFailedError(f"the {child.name} ended:\n{child.log_tail()}")
    return line


async def export(model: str, models_dir: Path, folder: Path) -> None:
    """Have a model of the zoo in ``models_dir``; one that is there already is left alone.

    Raises:
        ChildFailedError: It could not be exported.
    """
    if (models_dir / model / "1").is_dir():
        return
    # In a process of its own: TensorFlow in this one would disturb the clients.
    child = await Child.start("export", ["models", "export", model, "--out", str(models_dir)], folder / "export.log")
    try:
        if await child.process.wait() != 0:
            raise ChildFailedError(f"{model} could not be exported:\n{child.log_tail()}")
    finally:
        await child.stop()
