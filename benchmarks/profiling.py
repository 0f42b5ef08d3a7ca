"""Where the server's time goes: processor time by kind of thread, and which functions hold Python's lock.

The kernel counts the first for nothing. The second comes from py-spy, which looks at the process while clients load it.
Samples of all threads would mislead: a thread that waits for a processor or in C++ looks busy. But only one thread at a
time holds the lock, and what holds it is what keeps the others from Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.tables import Table

#: Samples a second.
_RATE = 200
_ATTACH_SECONDS = 20.0
TOP = 25


class ProfilerError(Exception):
    """py-spy is not there or could not look; the message says what to do."""


def find_py_spy(beside: Sequence[Path] = ()) -> Path:
    """The py-spy program: on the path, else beside one of these interpreters.

    Raises:
        ProfilerError: It is nowhere.
    """
    found = shutil.which("py-spy")
    places = [Path(found)] if found else [python.parent / "py-spy" for python in beside]
    for place in places:
        if place.is_file():
            return place
    raise ProfilerError("--profile needs py-spy, which is not found on the path: pip install py-spy")


async def record(py_spy: Path, pid: int, seconds: float, out: Path) -> dict[str, int]:
    """Watch a process.

    Returns:
        Samples by stack, its frames from the outermost inwards and separated by ``;``.

    Raises:
        ProfilerError: py-spy failed; the message holds what it says.
    """
    options = ["--pid", str(pid), "--duration", str(max(1, round(seconds))), "--rate", str(_RATE)]
    options += ["--gil", "--format", "raw"]
    process = await asyncio.create_subprocess_exec(
        str(py_spy),
        "record",
        *options,
        "--output",
        str(out),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        _, complaint = await asyncio.wait_for(process.communicate(), seconds + _ATTACH_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ProfilerError(f"py-spy did not end {_ATTACH_SECONDS:g} s after its time") from None
    if process.returncode != 0:
        raise ProfilerError(f"py-spy failed (it may need the right to trace processes): {complaint.decode()[-500:]}")
    return _read(out)


def _read(out: Path) -> dict[str, int]:
    return read_stacks(out.read_text().splitlines())


def read_stacks(lines: Iterable[str]) -> dict[str, int]:
    """Folded stacks: a line holds the frames, a space and how often they were seen."""
    stacks: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack:
            stacks[stack] += int(count)
    return dict(stacks)


def shares(stacks: dict[str, int]) -> list[tuple[str, float, float]]:
    """(function, share of the samples it was running itself, share it was anywhere on the stack), largest first."""
    total = sum(stacks.values())
    own: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for stack, count in stacks.items():
        frames = [_function(frame) for frame in stack.split(";")]
        own[frames[-1]] += count
        for frame in set(frames):
            anywhere[frame] += count
    return [(name, own[name] / total, anywhere[name] / total) for name, _ in own.most_common()]


def _function(frame: str) -> str:
    """``run (service/modelserver/session.py:121)`` without the line, so that a function is one entry."""
    name, separator, place = frame.rpartition(" (")
    return f"{name} ({place.rstrip(')').partition(':')[0]})" if separator else frame


def thread_seconds(pid: int) -> dict[str, float]:
    """Processor seconds that each kind of thread has used so far; Linux alone, empty elsewhere."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    used: Counter[str] = Counter()
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):  # The thread has ended.
            name, ticks = read_stat((folder / "stat").read_text())
            used[_kind(name, is_main=int(folder.name) == pid)] += ticks
    return {kind: ticks * tick for kind, ticks in used.items()}


def read_stat(text: str) -> tuple[str, int]:
    """Name of a thread and clock ticks it has used, user and system, from its ``stat`` (proc_pid_stat(5))."""
    name, _, rest = text.partition("(")[2].rpartition(")")
    values = rest.split()
    return name, int(values[11]) + int(values[12])


def _kind(name: str, *, is_main: bool) -> str:
    if is_main:
        return "event loop: gRPC in Python, messages, batching"
    if name.startswith("tf_"):
        return "TensorFlow's pools: the model"
    return "other Python threads: session calls, gRPC polling" if name.startswith("python") else "gRPC's own threads"


def thread_table(model: str, used: Mapping[str, float], seconds: float) -> Table:
    """Processor time by kind of thread.

    Args:
        model: Name of the model.
        used: Processor seconds by kind.
        seconds: In how much time.
    """
    total = sum(used.values()) or 1.0
    rows = [
        [kind, f"{cpu / seconds:.2f}", f"{cpu / total:.0%}"]
        for kind, cpu in sorted(used.items(), key=lambda item: -item[1])
    ]
    note = f"{total / seconds:.2f} processors in all, {seconds:.0f} s, no profiler."
    return Table(f"{model}: the server's processor time", ["threads", "processors", "share"], rows, note)


def profile_table(model: str, stacks: dict[str, int]) -> Table:
    """The functions that held the lock most."""
    rows = [[name, f"{own:.1%}", f"{anywhere:.1%}"] for name, own, anywhere in shares(stacks)[:TOP]]
    note = (
        f"{sum(stacks.values())} samples. C++ counts for the Python function that called it: the event loop's own C++ "
        "and gRPC's, which it runs, for Runner.run."
    )
    return Table(f"{model}: who holds Python's lock", ["function", "itself", "with callees"], rows, note)
