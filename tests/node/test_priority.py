from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.node.priority import Priority, may_return
from service.node.processes import started_ticks
from service.node.state import ProcessRecord
from tests.support.eventually import eventually

_THREADS = 5
_PROGRAM = f"""
import threading, time
for _ in range({_THREADS}):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(0.01)
time.sleep(60)
"""
_AUTOGROUPS = Path("/proc/self/autogroup").exists()


def record(pid: int) -> ProcessRecord:
    return ProcessRecord(pid=pid, started_ticks=started_ticks(pid) or 0)


def thread_count(process: ProcessRecord) -> int:
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def policies(process: ProcessRecord) -> set[int]:
    """Of its threads; empty where it has ended."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.sched_getscheduler(int(entry.name)))
    return found


def group_nice(process: ProcessRecord) -> str:
    return Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1]


@pytest.fixture
def program() -> Iterator[ProcessRecord]:
    """It makes its threads while it is looked at."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], start_new_session=True) as running:
        yield record(running.pid)
        running.kill()


@pytest.mark.skipif(not may_return(), reason="raising a priority takes CAP_SYS_NICE or RLIMIT_NICE 20")
async def test_all_threads_yield_and_compete_again_also_those_that_are_still_to_come(program: ProcessRecord) -> None:
    async def all_there() -> bool:
        return thread_count(program) == _THREADS + 1

    async with Priority(idle_policy=True).unfelt([program], 60):
        await eventually(all_there, what="its threads")
        assert policies(program) == {os.SCHED_IDLE}
    assert policies(program) == {os.SCHED_OTHER}


@pytest.mark.skipif(not _AUTOGROUPS, reason="this kernel knows no autogroups")
@pytest.mark.parametrize("failing", [False, True])
async def test_its_session_yields_and_competes_again_whatever_becomes_of_it(
    program: ProcessRecord, failing: bool
) -> None:
    try:
        async with Priority(idle_policy=False).unfelt([program], 60):
            assert group_nice(program) == "19"
            assert policies(program) == {os.SCHED_OTHER}
            if failing:
                raise RuntimeError
    except RuntimeError:
        pass
    assert group_nice(program) == "0"


@pytest.mark.skipif(not _AUTOGROUPS, reason="this kernel knows no autogroups")
async def test_it_competes_once_it_has_yielded_for_long_enough(program: ProcessRecord) -> None:
    async def competes() -> bool:
        return group_nice(program) == "0"

    async with Priority(idle_policy=may_return()).unfelt([program], 0.1):
        await eventually(competes, what="its share")
        assert policies(program) == {os.SCHED_OTHER}


async def test_a_process_that_has_ended_is_left_alone(program: ProcessRecord) -> None:
    async with Priority(idle_policy=True).unfelt([program], 60):
        os.kill(program.pid, 9)
        await asyncio.to_thread(os.waitid, os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    assert policies(program) <= {os.SCHED_IDLE, os.SCHED_OTHER}


def test_an_ordinary_user_without_the_limit_may_not() -> None:
    script = (
        "import os, resource\n"
        "from service.node.priority import may_return\n"
        "resource.setrlimit(resource.RLIMIT_NICE, (0, 0))\n"
        "if os.getuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "print(may_return())\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"
