"""Every schema that was ever released is brought forward, on both databases; what goes wrong changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from service.domain.decision import Action, Mode
from service.domain.errors import StoreError
from service.domain.slo import Slo
from service.store import Store, migration
from service.store.schema import METADATA, VERSION_TABLE
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window
from tests.support.postgres import Postgres

SET_VERSION = f"UPDATE {VERSION_TABLE} SET version_num = ?"  # noqa: S608 — a name of our own
GET_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 — a name of our own
ADD_VERSION = f"INSERT INTO {VERSION_TABLE} VALUES (?)"  # noqa: S608 — a name of our own

#: Dumps of databases with some history in them, as released versions left them: SCHEMA.DIALECT.sql.
RELEASES = Path(__file__).parent / "releases"
RELEASED = sorted({path.name.split(".")[0] for path in RELEASES.glob("*.sql")})

BROKEN = """
from alembic import op
revision, down_revision = "9999", "NEWEST"
def upgrade():
    op.drop_table("observations")
    op.execute("SELECT no_such_column FROM decisions")
"""

#: Opens one database in several processes at once and prints how each ended.
CROWD = """
import os, sys, traceback
from service.store import Store
from tests.support.history import CONFIG, WORKLOAD, a_window
waiting, go = os.pipe()
children = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            os.read(waiting, 1)
            Store.open(sys.argv[1], busy_timeout_seconds=60.0).add_observation("m", WORKLOAD, CONFIG, a_window())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    children.append(child)
os.close(go)
print([os.waitpid(child, 0)[1] for child in children])
"""

MIGRATIONS = Path(migration.__file__).parent / "migrations"


def in_sqlite(path: Path, schema: str) -> str:
    raw = sqlite3.connect(path)
    raw.executescript((RELEASES / f"{schema}.sqlite.sql").read_text(encoding="utf-8"))
    raw.close()
    return f"sqlite:///{path}"


@pytest.fixture
def released(request: pytest.FixtureRequest, empty: str, tmp_path: Path) -> str:
    """URL of a database as the release left it whose schema the test names."""
    schema: str = request.param
    if empty.startswith("sqlite"):
        return in_sqlite(tmp_path / "regulus.db", schema)
    server: Postgres = request.getfixturevalue("postgres")
    server.run((RELEASES / f"{schema}.postgresql.sql").read_text(encoding="utf-8"), empty)
    return empty


def dump(path: Path) -> list[str]:
    raw = sqlite3.connect(path)
    lines = list(raw.iterdump())
    raw.close()
    return lines


def differences(url: str) -> list[object]:
    """What sets the tables of a database apart from those that the code expects."""
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        )
        found: list[object] = compare_metadata(context, METADATA)
    engine.dispose()
    return found


def test_the_migrations_build_exactly_the_tables_of_the_schema(empty: str) -> None:
    Store.open(empty).close()
    assert differences(empty) == []


def test_every_schema_but_the_newest_has_a_dump_to_come_from() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    newest, *older = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert set(older) <= set(RELEASED) <= {newest, *older}
    assert {path.name for path in RELEASES.iterdir()} == {
        f"{schema}.{dialect}.sql" for schema in RELEASED for dialect in ("sqlite", "postgresql")
    }


@pytest.mark.parametrize("released", RELEASED, indirect=True)
def test_a_released_schema_is_brought_forward_with_all_that_is_in_it(released: str) -> None:
    store = Store.open(released)
    assert differences(released) == []
    assert [(o.id, o.window) for o in store.replay("m")] == [(2, a_window(1)), (3, a_window(2))]
    assert [o.window for o in store.replay("other")] == [a_window(3)]
    assert [(d.id, d.action) for d in store.decisions("m")] == [(2, Action.APPLY), (1, Action.HOLD)]
    state = store.state("m")
    assert state is not None
    assert (state.slo, state.mode, state.incumbent, state.generation) == (Slo(0.05), Mode.AUTO, CONFIG, 7)
    # And it works on: ids go on where they stopped, and what is new can be written.
    assert store.add_observation("m", WORKLOAD, CONFIG, a_window(9)) == 5
    assert store.add_decision(a_decision(9)).id == 4
    store.put_intent(a_decision(10))
    assert store.state("m").intent == a_decision(10)  # type: ignore[union-attr]
    store.close()


@pytest.mark.parametrize("released", RELEASED[:1], indirect=True)
def test_of_several_services_that_start_at_once_one_migrates(released: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CROWD, released],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=100,
    )
    assert done.stdout.strip() == "[0, 0, 0, 0, 0]", done.stderr
    assert differences(released) == []
    store = Store.open(released)
    assert len(store.observations("m")) == 2 + 5
    store.close()


@pytest.mark.parametrize("schema", RELEASED)
def test_a_copy_of_the_file_as_it_was_is_kept_beside_it(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "regulus.db"
    url = in_sqlite(path, schema)
    path.chmod(0o600)
    before = dump(path)
    Store.open(url).close()
    copy = tmp_path / f"regulus.db.schema-{schema}"
    assert dump(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [path, copy]


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    url = in_sqlite(path, RELEASED[0])
    before = dump(path)
    (tmp_path / f"regulus.db.schema-{RELEASED[0]}.part").mkdir()  # in the way
    with pytest.raises(StoreError, match=r"regulus\.db has schema 0001 and must be migrated, but no copy.*make room"):
        Store.open(url)
    assert dump(path) == before


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "regulus.db"
    dumps = []
    for _ in range(2):
        Store.open(f"sqlite:///{path}").close()
        dumps.append(dump(path))
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


def test_a_first_migration_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    """A table of the same name is in the way of the second step: the first must be undone."""
    path = tmp_path / "regulus.db"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE decisions (mine TEXT)")
    raw.commit()
    with pytest.raises(StoreError, match="already exists"):
        Store.open(f"sqlite:///{path}")
    assert raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("decisions",)]
    raw.close()


@pytest.mark.parametrize("released", RELEASED[-1:], indirect=True)
def test_a_later_migration_that_fails_half_way_leaves_the_history_as_it_was(
    released: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps up to a newest one that drops a table and then fails."""
    broken = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, broken, ignore=shutil.ignore_patterns("__pycache__"))
    newest = sorted((broken / "versions").glob("v*.py"))[-1]
    (broken / "versions" / "v9999_broken.py").write_text(BROKEN.replace("NEWEST", newest.name[1:5]), encoding="utf-8")
    monkeypatch.setattr(migration, "_MIGRATIONS", broken)
    with pytest.raises(StoreError, match="no_such_column"):
        Store.open(released)
    monkeypatch.undo()

    engine = create_engine(released)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(GET_VERSION).scalar() == RELEASED[-1]
        assert connection.exec_driver_sql("SELECT count(*) FROM observations").scalar() == 3
    engine.dispose()
    Store.open(released).close()
