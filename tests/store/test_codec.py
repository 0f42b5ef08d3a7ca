from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from service.domain.errors import StoreError
from service.store import Store
from service.store.codec import FORMAT
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one of everything."""
    path = tmp_path / "regulus.db"
    store = Store.open(f"sqlite:///{path}")
    store.add_observation("m", WORKLOAD, CONFIG, a_window())
    store.add_decision(a_decision())
    store.put_incumbent("m", CONFIG, 1)
    store.close()
    return path


def change(path: Path, statement: str, *values: object) -> None:
    raw = sqlite3.connect(path)
    raw.execute(statement, values)
    raw.commit()
    raw.close()


READS: dict[str, tuple[str, Callable[[Store], object]]] = {
    "observations": ("observation 1", lambda store: store.observations("m")),
    "decisions": ("decision 1", lambda store: store.decision(1)),
    "models": ("the state of model 'm'", lambda store: store.state("m")),
}


@pytest.mark.parametrize("table", READS)
def test_a_row_of_a_newer_format_is_refused_by_name(path: Path, table: str) -> None:
    what, read = READS[table]
    change(path, f"UPDATE {table} SET format = ?", FORMAT + 1)  # noqa: S608 — the names are in this file
    store = Store.open(f"sqlite:///{path}")
    with pytest.raises(StoreError, match=rf"{what}.*regulus\.db has format {FORMAT + 1}.*update Regulus"):
        read(store)
    store.close()


@pytest.mark.parametrize("damage", ["", "{", "[]", '"text"', '{"max_batch_size": -5}', '{"unknown": 1}', "null"])
@pytest.mark.parametrize("table", READS)
def test_a_damaged_row_is_refused_by_name(path: Path, table: str, damage: str) -> None:
    what, read = READS[table]
    column = "incumbent" if table == "models" else "body"
    change(path, f"UPDATE {table} SET {column} = ?", damage)  # noqa: S608 — the names are in this file
    store = Store.open(f"sqlite:///{path}")
    with pytest.raises(StoreError, match=rf"{what}.*regulus\.db is damaged"):
        read(store)
    store.close()


def test_history_is_stored_as_json_that_other_tools_can_read(path: Path) -> None:
    raw = sqlite3.connect(path)
    ((body,),) = raw.execute("SELECT body FROM decisions").fetchall()
    raw.close()
    assert json.loads(body)["config_after"]["max_batch_size"] == 32
