"""Priority: a process that gets ready beside one that serves runs on what the processors have left.

Starting a server takes seconds of processor time, and on a small node the requests of those seconds would feel it.
Linux shares the processors in one of two ways, and what a process yields must be said in the one that is in use:

- By *autogroup* (``sched_autogroup_enabled`` in sched(7); outside containers and systemd's units): each session has
  the same share, whatever its threads' policies. All processes of the node have sessions of their own, so the new
  one's group is made the nicest. Anybody may take that back.
- Within a control group by the threads' own weight. They are given the idle policy, and the usual one before the first
  request comes. Going back takes CAP_SYS_NICE, or a limit RLIMIT_NICE of 20: :func:`may_return` tries it out, on a
  thread that then ends. Where it may not be taken back it is not given.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from service.node.state import ProcessRecord

_PROC = Path("/proc")
#: Least and usual weight of an autogroup.
_NICEST, _USUAL = 19, 0
#: Without CAP_SYS_ADMIN the kernel changes an autogroup once in a tenth of a second, of all that are asked for.
_AGAIN_SECONDS, _ATTEMPTS = 0.05, 20
#: A thread that starts others while it is looked at leaves new ones behind; they are met in the next round.
_ROUNDS = 10


def may_return() -> bool:
    """Whether a thread of this process that was given the idle policy can be given the usual one again."""
    allowed = False

    def try_it() -> None:
        nonlocal allowed
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            allowed = True

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return allowed


class Priority:
    """Lets processes yield, and compete again.

    Args:
        idle_policy: Whether threads may be given the idle policy: :func:`may_return`.
    """

    def __init__(self, *, idle_policy: bool) -> None:
        self._idle_policy = idle_policy

    @contextlib.asynccontextmanager
    async def unfelt(self, processes: Sequence[ProcessRecord], seconds: float) -> AsyncIterator[None]:
        """While the block lasts they get what nobody else wants, but no longer than ``seconds``.

        Where others leave nothing, they would never be ready. What has ended, or may not be changed, is left alone.
        """
        for process in processes:
            await _set_autogroup(process, _NICEST)
            if self._idle_policy:
                _set_policy(process, os.SCHED_IDLE)
        patience = asyncio.create_task(self._compete(processes, after=seconds))
        try:
            yield
        finally:
            patience.cancel()
            await self._compete(processes)

    async def _compete(self, processes: Sequence[ProcessRecord], after: float = 0.0) -> None:
        await asyncio.sleep(after)
        for process in processes:
            if self._idle_policy:
                _set_policy(process, os.SCHED_OTHER)
            await _set_autogroup(process, _USUAL)


async def _set_autogroup(process: ProcessRecord, nice: int) -> None:
    file = _PROC / str(process.pid) / "autogroup"
    for _ in range(_ATTEMPTS):
        try:
            file.write_text(str(nice))
        except BlockingIOError:
            await asyncio.sleep(_AGAIN_SECONDS)
        except OSError:
            return  # it has ended, or this kernel knows no autogroups
        else:
            return


def _set_policy(process: ProcessRecord, policy: int) -> None:
    for _ in range(_ROUNDS):
        others = [thread for thread, present in _threads(process) if present != policy]
        if not others:
            return
        for thread in others:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, policy, os.sched_param(0))


def _threads(process: ProcessRecord) -> list[tuple[int, int]]:
    """Numbers of its threads and their policies."""
    found = []
    with contextlib.suppress(OSError):
        for entry in (_PROC / str(process.pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                found.append((int(entry.name), os.sched_getscheduler(int(entry.name))))
    return found
