"""Processes: they outlive whoever started them, and are recognised and ended by anybody."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from service.node.errors import StateError
from service.node.files import NodeFolder, read_json, write_json
from service.node.ports import free_ports
from service.node.processes import alive, end, ended, marked, spawn, tail
from service.node.state import ProcessRecord
from tests.support.eventually import eventually

SLEEPER = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
]


async def ready(log: Path) -> None:
    async def said() -> bool:
        return "ready" in tail(log)

    await eventually(said, what="the process")


async def test_a_process_is_found_by_its_mark_and_its_end_is_seen(tmp_path: Path) -> None:
    process = spawn(SLEEPER, tmp_path, tmp_path / "log")
    waiting = asyncio.create_task(ended(process))
    try:
        await ready(tmp_path / "log")
        assert alive(process)
        assert marked(tmp_path) == [process]
        assert marked(tmp_path / "other") == []
    finally:
        assert await end(process, 20)
    await asyncio.wait_for(waiting, 20)
    assert not alive(process)
    assert marked(tmp_path) == []
    assert await end(process, 20)


async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = spawn(STUBBORN, tmp_path, tmp_path / "log")
    await ready(tmp_path / "log")
    assert not await end(process, 0.2)
    assert not alive(process)


async def test_another_agents_process_is_watched_and_ended_as_well(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from service.node.processes import spawn\n"
        f"one = spawn({SLEEPER!r}, Path({str(tmp_path)!r}), Path({str(tmp_path / 'log')!r}))\n"
        "print(one.pid, one.started_ticks)"
    )
    another = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    said = (await another.communicate())[0].split()
    process = ProcessRecord(pid=int(said[0]), started_ticks=int(said[1]))
    assert marked(tmp_path) == [process]
    waiting = asyncio.create_task(ended(process))
    assert await end(process, 20)
    await asyncio.wait_for(waiting, 20)


def test_a_number_that_was_given_to_another_process_is_not_it() -> None:
    assert not alive(ProcessRecord(pid=1, started_ticks=-1))


def test_a_folder_is_held_by_one_agent_at_a_time(tmp_path: Path) -> None:
    first, second = NodeFolder(tmp_path / "node"), NodeFolder(tmp_path / "node")
    assert second.holder() is None
    first.take()
    with pytest.raises(StateError, match="another agent"):
        second.take()
    first.leave()
    second.take()
    second.leave()
    assert first.holder() is None


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    assert read_json(file) is None
    write_json(file, {"a": 1}, durable=True)
    write_json(file, {"a": 2})
    assert read_json(file) == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
    for broken in ("{", "[]"):
        file.write_text(broken)
        with pytest.raises(StateError, match=r"file\.json"):
            read_json(file)


def test_ports_are_different_and_free() -> None:
    ports = free_ports(6)
    assert len(set(ports)) == 6
