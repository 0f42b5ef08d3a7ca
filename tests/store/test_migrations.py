from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from service.domain.errors import StoreError
from service.store import Store
from service.store.schema import METADATA, VERSION_TABLE

SET_VERSION = f"UPDATE {VERSION_TABLE} SET version_num = ?"  # noqa: S608 — a name of our own
GET_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 — a name of our own
ADD_VERSION = f"INSERT INTO {VERSION_TABLE} VALUES (?)"  # noqa: S608 — a name of our own


def test_the_migrations_build_exactly_the_tables_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    Store.open(f"sqlite:///{path}").close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        )
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    dumps = []
    for _ in range(2):
        Store.open(f"sqlite:///{path}").close()
        raw = sqlite3.connect(path)
        dumps.append(list(raw.iterdump()))
        raw.close()
    assert dumps[0] == dumps[1]


def test_a_database_of_a_newer_regulus_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    Store.open(f"sqlite:///{path}").close()
    raw = sqlite3.connect(path)
    raw.execute(SET_VERSION, ("9999",))
    raw.commit()
    with pytest.raises(StoreError, match=r"regulus\.db was written by a newer Regulus \(schema 9999.*update Regulus"):
        Store.open(f"sqlite:///{path}")
    assert raw.execute(GET_VERSION).fetchall() == [("9999",)]
    raw.close()


def test_a_database_with_two_versions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    Store.open(f"sqlite:///{path}").close()
    raw = sqlite3.connect(path)
    raw.execute(ADD_VERSION, ("0000",))
    raw.commit()
    raw.close()
    with pytest.raises(StoreError, match="no clear schema version"):
        Store.open(f"sqlite:///{path}")


def test_a_migration_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    """A table of the same name is in the way of the second step: the first must be undone."""
    path = tmp_path / "regulus.db"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE decisions (mine TEXT)")
    raw.commit()
    with pytest.raises(StoreError, match="already exists"):
        Store.open(f"sqlite:///{path}")
    assert raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("decisions",)]
    raw.close()
