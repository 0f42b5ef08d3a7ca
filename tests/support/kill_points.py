"""Kill points: a program that works with a history is killed with -9 before each statement it makes, and within them.

Run as a program (``python -m tests.support.kill_points FOLDER``), because it forks, which a process with threads should
not. Python is started once; each death costs only a fork. It prints how often it killed, or fails with what was lost.

After each death the file must be sound, hold all that was acknowledged, and at most one row that was not.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from service.domain.decision import Action
from service.store import Store
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window

#: Virtual-machine instructions of SQLite between two chances to die within a statement.
INSTRUCTIONS = 12

#: Deaths at any moment, such as within a flush to the disk.
RANDOM_DEATHS = 30

#: Windows that the release's file holds, which knew no tallies.
RELEASED = 2

RELEASE = Path(__file__).parents[1] / "store" / "releases" / "0001.sqlite.sql"

#: The child's way to say that something is done: a letter and a number.
Tell = Callable[[str, int], object]


def work(path: Path, tell: Tell) -> None:
    """All that a control service writes, once; opening migrates what is older."""
    store = Store.open(f"sqlite:///{path}")
    tell("v", 3)
    tell("o", store.add_observation("m", WORKLOAD, CONFIG, a_window()))
    store.put_intent(a_decision(1, action=Action.APPLY))
    tell("d", store.add_decision(a_decision(1, action=Action.APPLY)).id or 0)
    store.put_incumbent("m", CONFIG, 1)
    store.prune("old", keep_observations=1, keep_holds=1)
    store.close()


def dying_at(point: int, *, within_statements: bool) -> None:
    """Have this process die at its ``point``-th chance."""
    left = point

    def chance(*_: object) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    @event.listens_for(Engine, "connect")
    def watch(connection: sqlite3.Connection, _record: Any) -> None:
        if within_statements:
            connection.set_progress_handler(chance, INSTRUCTIONS)
        else:
            connection.set_trace_callback(chance)


def run_child(path: Path, prepare: Callable[[], None], kill_after: float | None = None) -> tuple[list[str], bool]:
    """Work in a child; what it acknowledged, and whether it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            while True:
                work(path, lambda what, number: os.write(writing, f"{what} {number}\n".encode()))
                if kill_after is None:
                    os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as told:
        lines = told.read().splitlines()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, f"the child ended with {status}"
    return lines, killed


def check(path: Path, acknowledged: dict[str, set[int]]) -> None:
    """The file is sound, nothing acknowledged is missing, and at most one row was never acknowledged."""
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for what, table in (("o", "observations"), ("d", "decisions")):
        there = {number for (number,) in raw.execute(f"SELECT id FROM {table} WHERE model = 'm'")}  # noqa: S608
        missing, extra = acknowledged[what] - there, there - acknowledged[what]
        assert not missing, f"{table} {sorted(missing)} were acknowledged and are lost"
        assert len(extra) <= 1, f"{table} {sorted(extra)} appeared from nowhere"
        acknowledged[what] |= extra
    (version,) = raw.execute("SELECT version_num FROM regulus_schema_version").fetchone()
    columns = {row[1] for row in raw.execute("PRAGMA table_info(models)")}
    migrated = version == "0003"
    assert [name in columns for name in ("intent", "guards")] == [migrated] * 2, "half migrated"
    if migrated:
        (tallied,) = raw.execute("SELECT coalesce(sum(windows), 0) FROM tallies WHERE model = 'm'").fetchone()
        assert tallied == len(acknowledged["o"]) - RELEASED, "a window is there and not in its hour's tally, or twice"
    assert version == "0003" or not acknowledged["v"], "a migration was acknowledged and is lost"
    raw.close()


def old_history(path: Path) -> dict[str, set[int]]:
    """A file of the first release with history in it."""
    raw = sqlite3.connect(path)
    raw.executescript(RELEASE.read_text(encoding="utf-8"))
    numbers = {
        what: {number for (number,) in raw.execute(f"SELECT id FROM {table} WHERE model = 'm'")}  # noqa: S608
        for what, table in (("o", "observations"), ("d", "decisions"))
    }
    raw.close()
    return {**numbers, "v": set()}


def main(folder: Path) -> None:
    """Kill at every point; print how often."""
    deaths = {"before a statement": 0, "within a statement": 0, "at a random moment": 0}
    for name, within in (("before a statement", False), ("within a statement", True)):
        path = folder / f"{name}.db"
        acknowledged = old_history(path)
        # Until the migration is through each child begins with it; from then on the way is another.
        while not deaths[name] or version(path) == "0001":
            die(path, acknowledged, deaths[name], within_statements=within)
            deaths[name] += 1
        point = 0
        while die(path, acknowledged, point, within_statements=within):
            point += 1
        deaths[name] += point
    rng, path = random.Random(7), folder / "random.db"  # noqa: S311
    acknowledged = old_history(path)
    for _ in range(RANDOM_DEATHS):
        note(acknowledged, run_child(path, lambda: None, kill_after=rng.uniform(0.02, 0.12))[0])
        check(path, acknowledged)
        deaths["at a random moment"] += 1
    print(deaths)


def die(path: Path, acknowledged: dict[str, set[int]], point: int, *, within_statements: bool) -> bool:
    """Have a child die at a point, and check; False when it came to its end before."""
    lines, killed = run_child(path, lambda: dying_at(point, within_statements=within_statements))
    note(acknowledged, lines)
    check(path, acknowledged)
    return killed


def note(acknowledged: dict[str, set[int]], lines: list[str]) -> None:
    """Take down what a child has acknowledged."""
    for line in lines:
        what, number = line.split()
        acknowledged[what].add(int(number))


def version(path: Path) -> str:
    """The schema that the file has."""
    raw = sqlite3.connect(path)
    (found,) = raw.execute("SELECT version_num FROM regulus_schema_version").fetchone()
    raw.close()
    return str(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
