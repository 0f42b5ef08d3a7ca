"""Processes: started so that they outlive the agent, recognised again, watched and ended whoever started them.

Each is given the node's folder in its environment. What an agent that was killed left behind is found by that mark,
whatever it had managed to write down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.node.errors import StartError
from service.node.state import ProcessRecord

_log = logging.getLogger(__name__)

#: Names the node's folder in the environment of all its processes.
MARK = "REGULUS_NODE_FOLDER"

#: Lines and bytes of a log that are shown.
_TAIL_LINES = 20
_TAIL_BYTES = 8192

#: After SIGKILL the kernel needs a moment.
_KILLED_SECONDS = 5.0

_PROC = Path("/proc")


def spawn(command: Sequence[str], folder: Path, log: Path, env: Mapping[str, str] | None = None) -> ProcessRecord:
    """Start a program in a session of its own; its output goes to the end of ``log``.

    Raises:
        StartError: It cannot be executed.
    """
    # Appended to, so that a log that is emptied by its rotation stays empty.
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawnp(
            command[0],
            list(command),
            {**os.environ, **(env or {}), MARK: str(folder)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), log_flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except OSError as error:
        raise StartError(f"{command[0]} cannot be run: {error.strerror}") from error
    ticks = started_ticks(pid)
    if ticks is None:
        _reap(pid)
        raise StartError(f"{command[0]} ended at once", tail(log))
    return ProcessRecord(pid=pid, started_ticks=ticks)


def started_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since the machine's start; None where it has ended, a zombie too."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may hold anything; what follows the last bracket does not.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(process: ProcessRecord) -> bool:
    """Whether it still runs; another process that has its number by now is not it."""
    _reap(process.pid)
    return started_ticks(process.pid) == process.started_ticks


def marked(folder: Path) -> list[ProcessRecord]:
    """All processes that carry the mark of a node's folder, this one apart."""
    wanted = f"{MARK}={folder}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # another user's, or ended
        ticks = started_ticks(int(entry.name))
        if ticks is not None and wanted in environment.split(b"\0"):
            found.append(ProcessRecord(pid=int(entry.name), started_ticks=ticks))
    return found


async def ended(process: ProcessRecord) -> None:
    """Wait until a process has ended, whoever started it."""
    if not alive(process):
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        # It may have ended, and its number been given away, before the descriptor was opened.
        if alive(process):
            await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    _reap(process.pid)


async def end(process: ProcessRecord, patience_seconds: float) -> bool:
    """SIGTERM, then after ``patience_seconds`` SIGKILL; returns whether the first was enough. Idempotent."""
    if await _signalled(process, signal.SIGTERM, patience_seconds):
        return True
    await _signalled(process, signal.SIGKILL, _KILLED_SECONDS)
    return False


async def end_all_but(wanted: set[tuple[int, int]], folder: Path, patience_seconds: float) -> None:
    """End all processes that carry the mark of a node's folder, but those of these numbers and beginnings."""
    orphans = [one for one in marked(folder) if (one.pid, one.started_ticks) not in wanted]
    for one in orphans:
        _log.info("process %d is no longer wanted and is ended", one.pid)
    await asyncio.gather(*(end(one, patience_seconds) for one in orphans))


def kill(process: ProcessRecord) -> None:
    """SIGKILL, for a process that has nothing in hand."""
    if alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


async def _signalled(process: ProcessRecord, number: signal.Signals, patience_seconds: float) -> bool:
    if not alive(process):
        return True
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
    try:
        await asyncio.wait_for(ended(process), patience_seconds)
    except TimeoutError:
        return False
    return True


def tail(log: Path) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])


def _reap(pid: int) -> None:
    """Take note of the end of a child of ours, so that its number becomes free; another's child is not touched."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
