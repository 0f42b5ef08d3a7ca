"""Databases that fail, as they really do: each error must name the database and say what to do."""

from __future__ import annotations

import ast
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.domain.errors import StoreError
from service.store import Store
from service.store.database import Database
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window

ROOT = Path(__file__).parents[2]

#: Fills a store whose files may not grow beyond what the second argument says, then goes on when they may.
FILLER = """
import resource, sys
from service.domain.errors import StoreError
from service.store import Store
from service.store.database import Database
from tests.support.history import CONFIG, WORKLOAD, a_window
store = Store.open(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
kept = 0
try:
    while kept < 10_000:
        store.add_observation("m", WORKLOAD, CONFIG, a_window(kept))
        kept += 1
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert len(list(store.replay("m"))) == kept, "lost what was acknowledged"
store.add_observation("m", WORKLOAD, CONFIG, a_window(kept))
print("kept", kept)
store.close()
"""


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_kill_9_at_any_point_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Before each statement, within them, and at random; while migrating and while writing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_points", str(tmp_path)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    deaths = ast.literal_eval(done.stdout)
    assert min(deaths.values()) >= 10, deaths


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    done = subprocess.run(
        python(FILLER, url_of(path), "300000"), capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    complaint, kept = done.stdout.splitlines()
    assert str(path) in complaint
    assert "full" in complaint
    assert int(kept.split()[1]) > 3


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, not a database\n" * 100)
    with pytest.raises(StoreError, match=r"notes\.txt.*not a database.*name another"):
        Store.open(url_of(path))
    assert path.read_text().startswith("my notes")


@pytest.mark.parametrize("damage", ["pages", "cut off", "header"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "regulus.db"
    store = Store.open(url_of(path))
    for number in range(50):
        store.add_observation("m", WORKLOAD, CONFIG, a_window(number))
    store.close()
    whole = path.read_bytes()
    damaged = {
        "pages": whole[:4096] + b"\xff" * (len(whole) - 4096),
        "cut off": whole[: len(whole) // 2],
        "header": b"\x00" * 100 + whole[100:],
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"regulus\.db.*the file is damaged: stop.*move.*`regulus history import`"):
        list(Store.open(url_of(path)).replay("m"))

    path.rename(tmp_path / "damaged.db")
    again = Store.open(url_of(path))
    assert again.add_observation("m", WORKLOAD, CONFIG, a_window()) == 1
    again.close()


def test_pruning_shortens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    store = Store.open(url_of(path))
    for number in range(300):
        store.add_observation("m", WORKLOAD, CONFIG, a_window(number))
    store.close()
    before = path.stat().st_size

    store = Store.open(url_of(path))
    while store.prune("m", keep_observations=10, keep_holds=1):
        pass
    store.close()

    assert path.stat().st_size < before / 4
    assert len(Store.open(url_of(path)).observations("m", limit=100)) == 10


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"directory of .*file/regulus\.db cannot be made"):
        Store.open(url_of(tmp_path / "file" / "regulus.db"))
    with pytest.raises(StoreError, match=r"directory must exist and be writable"):
        Store.open(url_of(Path("/proc/regulus.db")))


def test_a_file_that_may_only_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    Store.open(url_of(path)).close()
    with pytest.raises(StoreError, match=r"readonly.*must be writable"):
        Store.open(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_the_directory_is_made(tmp_path: Path) -> None:
    Store.open(url_of(tmp_path / "a" / "b" / "regulus.db")).close()
    assert (tmp_path / "a" / "b" / "regulus.db").exists()


def test_a_lock_that_is_held_too_long_is_said_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    store = Store.open(url_of(path), busy_timeout_seconds=0.1)
    stored = store.add_decision(a_decision())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"regulus\.db.*locked.*another program"):
        store.add_decision(a_decision())
    assert store.decisions() == [stored]
    other.execute("ROLLBACK")
    other.close()
    assert store.add_decision(a_decision()).id == 2
    store.close()


def test_a_lock_that_is_held_briefly_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    store = Store.open(url_of(path), busy_timeout_seconds=60.0)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    release.start()
    assert store.add_decision(a_decision()).id == 1
    release.join()
    other.close()
    store.close()


def test_commits_reach_the_disk_and_readers_do_not_wait(tmp_path: Path) -> None:
    """What the promises rest on: a write-ahead log, flushed at each commit."""
    database = Database(url_of(tmp_path / "regulus.db"), busy_timeout_seconds=5.0)
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("what is this", "cannot be read; write sqlite:///"),
        ("mysql://user:secret@host/name", "sqlite or postgresql, not mysql"),
        ("postgresql+nosuchdriver://user:secret@host/name", "cannot be used"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_showing_its_password(url: str, complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)
