"""Database: connections, transactions, migration, and errors that say what to do.

SQLite is made safe for a service: write-ahead log, commits flushed to the disk, waiting instead of failing when
another connection writes, and real transactions, which Python's driver does not give to schema changes by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from service.domain.errors import StoreError
from service.store.migration import MIGRATING, migrate

#: How long a call waits for a connection of the pool, seconds.
POOL_TIMEOUT_SECONDS = 30.0

#: How long opening a connection to PostgreSQL may take, seconds.
CONNECT_TIMEOUT_SECONDS = 10

#: How long a statement may take in PostgreSQL, seconds; all of ours take milliseconds.
STATEMENT_TIMEOUT_SECONDS = 30

#: How long PostgreSQL's machine may leave what was sent unacknowledged before the connection counts as lost, seconds.
SILENCE_TIMEOUT_SECONDS = 30

_DAMAGED = (
    "the file is damaged: stop Regulus, move the file away (with its -wal and -shm) and start again with a backup or "
    "an empty history; `regulus history import` brings back what was exported"
)

#: What the database's own words mean for the person who runs Regulus; the first that occurs is told.
_ADVICE = (
    ("disk is full", "free some space; nothing that was acknowledged is lost"),
    ("locked", "another program holds it for long; find and end it, or give Regulus a database of its own"),
    ("malformed", _DAMAGED),
    ("not a database", f"it is no SQLite database: name another; or, if it was one, {_DAMAGED}"),
    ("readonly", "the file or its directory must be writable for the user that runs Regulus"),
    ("unable to open", "its directory must exist and be writable for the user that runs Regulus"),
    ("disk i/o error", "the disk is full or failing; see the system's log"),
    (
        "statement timeout",
        "the database server is overloaded, or another session holds a lock (pg_stat_activity)",
    ),
    ("connection", "is the database server running, and may this user connect?"),
)


class Database:
    """An open, migrated database. Thread-safe.

    Args:
        url: As :meth:`service.store.store.Store.open` takes it.
        busy_timeout_seconds: How long a SQLite call waits while another connection writes.

    Raises:
        StoreError: It cannot be opened, or was written by a newer Regulus.
    """

    def __init__(self, url: str, *, busy_timeout_seconds: float) -> None:
        try:
            parsed = make_url(url)
        except SQLAlchemyError as error:
            raise StoreError("the history's URL cannot be read; write sqlite:///path/to/regulus.db") from error
        self.name = parsed.render_as_string(hide_password=True)
        self._engine = self._connectable(parsed, busy_timeout_seconds)
        try:
            with MIGRATING, self.transaction() as connection:
                migrate(connection, self.name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release connections. Idempotent."""
        self._engine.dispose()

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection inside one transaction that may write: all of it is kept, durably, or none.

        Raises:
            StoreError: The database failed; says which and what to do.
        """
        try:
            with self._engine.connect().execution_options(regulus_writes=True) as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            raise self._failed(error) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection inside one transaction that only reads, and so waits for no writer.

        Raises:
            StoreError: The database failed; says which and what to do.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            raise self._failed(error) from error

    @property
    def file(self) -> Path | None:
        """Where a SQLite database lies; None in memory, and for any other.

        Raises:
            StoreError: The database failed.
        """
        if self.dialect != "sqlite":
            return None
        with self.reading() as connection:
            listed = connection.exec_driver_sql("PRAGMA database_list")
            file = next(row.file for row in listed if row.name == "main")
        return Path(file).resolve() if file else None

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection of the caller's own, without a transaction; it outlives the block, and the caller closes it.

        Raises:
            StoreError: The database failed within the block; says which and what to do. The connection is closed.
        """
        try:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        except SQLAlchemyError as error:
            raise self._failed(error) from error
        connection.detach()
        try:
            yield connection
        except SQLAlchemyError as error:
            connection.close()
            raise self._failed(error) from error

    def _failed(self, error: SQLAlchemyError) -> StoreError:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        advice = next((f"; {told}" for words, told in _ADVICE if words in reason.lower()), "")
        return StoreError(f"the history in {self.name} failed: {reason}{advice}")

    def _connectable(self, url: URL, busy_timeout_seconds: float) -> Engine:
        try:
            if url.get_backend_name() == "sqlite":
                return _sqlite_engine(url, busy_timeout_seconds)
            if url.get_backend_name() == "postgresql":
                return _postgresql_engine(url)
        except OSError as error:
            raise StoreError(f"the directory of {self.name} cannot be made: {error}") from error
        except ImportError as error:
            raise StoreError(f"{self.name} needs a driver that is not installed: {error}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name} cannot be used: {error}") from error
        raise StoreError(
            f"{self.name}: Regulus keeps its history in sqlite or postgresql, not {url.get_backend_name()}"
        )


def _postgresql_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "tcp_user_timeout": SILENCE_TIMEOUT_SECONDS * 1000,
            "keepalives_idle": SILENCE_TIMEOUT_SECONDS,
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _record: object) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'")
        connection.commit()

    return engine


def _sqlite_engine(url: URL, busy_timeout_seconds: float) -> Engine:
    arguments: dict[str, Any] = {"timeout": busy_timeout_seconds, "check_same_thread": False}
    in_memory = url.database in (None, "", ":memory:")
    if in_memory:
        # All threads share the one connection that holds the data; the pool lets them have it one after the other.
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            connect_args=arguments,
        )
    else:
        if "uri" not in url.query:  # else the name is a URI, whose owner knows where it points
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, pool_timeout=POOL_TIMEOUT_SECONDS, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        # auto_vacuum counts only before a new file's first page is written, so it comes first.
        for pragma in ("auto_vacuum = INCREMENTAL", "foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its lock first and waits for it; one that had read before would fail instead of waiting.
        writes = connection.get_execution_options().get("regulus_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
