"""Migration: brings a database to the present schema when it is opened; all of a migration is kept, or none.

Any number of services may open a database at once: one migrates, the others wait for it. Before a SQLite file that
holds something is changed, a copy of it is put beside it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, column, table, text, update

from service.domain.errors import StoreError
from service.store.schema import VERSION_TABLE

_VERSIONS = table(VERSION_TABLE, column("version_num"))

_MIGRATIONS = Path(__file__).parent / "migrations"

#: Two services that start at once must not migrate at once; any number of our own will do.
_MIGRATION_LOCK = 7_283_411_905

#: Alembic keeps its state in module globals, so in one process only one thread may migrate.
MIGRATING = threading.Lock()


def migrate(connection: Connection, name: str) -> None:
    """Bring the schema up to date, inside the caller's writing transaction and under :data:`MIGRATING`.

    Args:
        connection: To the database.
        name: What errors call the database.

    Raises:
        StoreError: It was written by a newer Regulus, or no copy of it can be made. Nothing was changed.
        SQLAlchemyError: A step failed; the caller's transaction undoes all.
    """
    if connection.dialect.name == "postgresql":
        # Waiting for another service's migration, or building an index, may take longer than any other statement.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    try:
        present = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    except CommandError as error:
        raise StoreError(f"the history in {name} has no clear schema version: {error}; restore a backup") from error
    if present is not None and present not in known:
        raise StoreError(
            f"the history in {name} was written by a newer Regulus (schema {present}, this one knows up to "
            f"{scripts.get_current_head()}); update Regulus, or name another database"
        )
    if present == scripts.get_current_head():
        # Nothing to write, so write something: a database that may only be read is found out now, not at a decision.
        connection.execute(update(_VERSIONS).values(version_num=present))
        return
    if present is not None and connection.dialect.name == "sqlite":
        _keep_a_copy(connection, name, present)
    command.upgrade(config, "head")


def _keep_a_copy(connection: Connection, name: str, version: str) -> None:
    """Copy a SQLite file to ``FILE.schema-VERSION``; what is in memory has no copy.

    The caller's transaction keeps writers out, so that the copy is the state just before the migration.
    """
    file = next(row.file for row in connection.exec_driver_sql("PRAGMA database_list") if row.name == "main")
    if not file:
        return
    copy = Path(f"{file}.schema-{version}")
    unfinished = Path(f"{copy}.part")
    try:
        unfinished.unlink(missing_ok=True)
        with closing(sqlite3.connect(file)) as source:
            source.execute("VACUUM INTO ?", (str(unfinished),))
        shutil.copymode(file, unfinished)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(copy)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"the history in {name} has schema {version} and must be migrated, but no copy of it can be put at {copy}: "
            f"{error}; make room there and start again; nothing was changed"
        ) from error
