from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.node.priority import may_return, policies, usual, yield_to_others
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


def record(pid: int) -> ProcessRecord:
    return ProcessRecord(pid=pid, started_ticks=started_ticks(pid) or 0)


def thread_count(process: ProcessRecord) -> int:
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


@pytest.fixture
def threading_program() -> Iterator[ProcessRecord]:
    """It makes its threads while it is looked at."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM]) as program:
        yield record(program.pid)
        program.kill()


@pytest.mark.skipif(not may_return(), reason="raising a priority takes CAP_SYS_NICE or RLIMIT_NICE 20")
async def test_all_threads_yield_and_compete_again_also_those_that_are_still_to_come(
    threading_program: ProcessRecord,
) -> None:
    yield_to_others(threading_program)

    async def all_there() -> bool:
        return thread_count(threading_program) == _THREADS + 1

    await eventually(all_there, what="its threads")
    assert policies(threading_program) == {os.SCHED_IDLE}
    usual(threading_program)
    assert policies(threading_program) == {os.SCHED_OTHER}


def test_a_process_that_has_ended_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        process = record(program.pid)
        program.wait()
    yield_to_others(process)
    assert policies(process) == set()


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
