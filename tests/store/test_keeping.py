"""One service keeps a database; the next learns who it was, once it is certainly dead, and from no copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service.domain.errors import StoreError
from service.store import Store
from service.store.database import Database
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]

#: Keeps a database until it is killed.
KEEPER = """
import sys
from service.store import Store
store = Store.open(sys.argv[1])
print(store.keep("the dead"), flush=True)
sys.stdin.read()
"""


def kept(url: str, name: str) -> str | None:
    """What a service of that name is told, which ends well right after."""
    with closing(Store.open(url)) as store:
        return store.keep(name)


def test_the_next_is_told_who_it_was(empty: str) -> None:
    assert kept(empty, "first") is None
    assert kept(empty, "second") == "first"
    assert kept(empty, "third") == "second"


def test_while_one_keeps_it_the_other_is_told_nothing_and_changes_nothing(empty: str) -> None:
    with closing(Store.open(empty)) as first:
        first.keep("first")
        assert first.keep("first") is None
        assert kept(empty, "second") is None
    assert kept(empty, "third") == "first"


def test_of_a_killed_one_it_is_known_at_once(empty: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", KEEPER, empty],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == b"None\n"
        assert kept(empty, "too early") is None
    finally:
        program.kill()
        program.communicate(timeout=30)
    with closing(Store.open(empty)) as store:
        # PostgreSQL takes a moment to find that its client is gone.
        wait_until(lambda: store.keep("heir") == "the dead", what="the lock is free")


def test_a_copy_of_the_database_says_nothing_of_who_is_dead(tmp_path: Path) -> None:
    there, copy = tmp_path / "there", tmp_path / "copy"
    with closing(Store.open(f"sqlite:///{there}/regulus.db")) as store:
        store.keep("alive")
        shutil.copytree(there, copy)
        assert kept(f"sqlite:///{copy}/regulus.db", "other") is None


def test_what_was_kept_before_the_machine_started_anew_says_nothing(tmp_path: Path, monkeypatch) -> None:
    url, boot = f"sqlite:///{tmp_path}/regulus.db", tmp_path / "boot_id"
    kept(url, "before")
    boot.write_text("another start\n")
    monkeypatch.setattr("service.store.keeping._BOOT_ID", boot)
    assert kept(url, "after") is None
    assert kept(url, "later") == "after"
    boot.unlink()
    assert kept(url, "where no such number is told") is None


def test_in_memory_there_is_nothing_to_keep() -> None:
    with closing(Store.open("sqlite://")) as store:
        assert store.keep("one") is None


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "regulus.db.lock").mkdir()
    with (
        closing(Store.open(f"sqlite:///{tmp_path}/regulus.db")) as store,
        pytest.raises(StoreError, match=r"regulus\.db\.lock cannot be opened: Is a directory"),
    ):
        store.keep("one")


def test_one_that_could_not_say_its_name_does_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/regulus.db"
    kept(url, "first")
    with closing(Store.open(url)) as second:

        def full(_self: Database) -> None:
            raise StoreError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", full)
            with pytest.raises(StoreError):
                second.keep("second")
        assert kept(url, "third") == "first"
