"""Priority: a process that gets ready beside one that serves runs on what the processors have left.

Starting a server takes seconds of processor time, and on a small node the requests of those seconds would feel it. So
its threads are given Linux's idle policy (``SCHED_IDLE`` in sched(7)), and the usual one before the first request
comes. Not every process may go back: it takes CAP_SYS_NICE, or a limit RLIMIT_NICE of 20. :func:`may_return` tries it
out, on a thread that then ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from service.node.state import ProcessRecord

_PROC = Path("/proc")
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


def yield_to_others(process: ProcessRecord) -> None:
    """All threads of a process get what nobody else wants. What has ended, or may not be changed, is left alone."""
    _set(process, os.SCHED_IDLE)


def usual(process: ProcessRecord) -> None:
    """All threads of a process compete again. Idempotent."""
    _set(process, os.SCHED_OTHER)


def policies(process: ProcessRecord) -> set[int]:
    """The policies of its threads; empty where it has ended."""
    return {policy for _, policy in _threads(process)}


def _set(process: ProcessRecord, policy: int) -> None:
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
