"""Keeping: one service keeps a database for itself, so that its successor knows when it is dead, and who it was.

The lock lasts as long as the process, or as its connection to the server, and no longer: on SQLite a lock on the file
``DATABASE.lock`` beside it, on PostgreSQL an advisory lock of a session of its own. The keeper writes down its name and
the place where the database lies. Whoever finds the lock free later, and another's name at the same place, knows that
the other has ended; a copy of the database lies at another place and says nothing of who is alive.

The place is, on SQLite, the machine's present boot and the file's own number: on another machine that shares the file
system, locks may not be seen. On PostgreSQL it is the server's start and the database, because with the server all
sessions end, and with them their locks, while services go on.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import StoreError
from service.store.database import Database
from service.store.schema import KEEPER

#: An advisory lock of PostgreSQL belongs to a database; ours also to a schema. Any number of our own will do.
_TAKE_LOCK = text("SELECT pg_try_advisory_lock(728341190, hashtext(current_schema()))")
_GIVE_LOCK = text("SELECT pg_advisory_unlock(728341190, hashtext(current_schema()))")
_WHERE = text("SELECT concat_ws(' ', pg_postmaster_start_time(), current_database(), current_schema())")

#: A number that Linux draws at each start.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Keeping:
    """Tries to keep one database. Not thread-safe.

    Args:
        database: Which. The caller closes it after :meth:`end`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file: int | None = None
        self._session: Connection | None = None

    def begin(self, name: str) -> str | None:
        """Keep the database, where nobody else does.

        Args:
            name: Of this service.

        Returns:
            The name of the one that kept it before, in this very place, and has ended for certain; None where there
            was none, its end is not certain, or another keeps it now, as this one may already.

        Raises:
            StoreError: The database failed, or the file of the lock cannot be opened.
        """
        place = None if self._holds else self._locked_place()
        if place is None:
            return None
        try:
            with self._database.transaction() as connection:
                before = connection.execute(select(KEEPER)).one_or_none()
                connection.execute(delete(KEEPER))
                connection.execute(insert(KEEPER).values(id=1, name=name, place=place))
        except StoreError:
            self.end()
            raise
        return before.name if before is not None and before.place == place else None

    @property
    def _holds(self) -> bool:
        return self._file is not None or self._session is not None

    def end(self) -> None:
        """Let others keep it. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._session is not None:
            # Said, for the server takes a moment to find that a session has ended; where it is gone, so is the lock.
            with suppress(SQLAlchemyError):
                self._session.execute(_GIVE_LOCK)
            self._session.close()
            self._session = None

    def _locked_place(self) -> str | None:
        """Where the database lies, once nobody else keeps it; None where somebody does, or it is in memory."""
        return self._lock_file() if self._database.dialect == "sqlite" else self._lock_session()

    def _lock_file(self) -> str | None:
        path = self._database.file
        if path is None:
            return None
        try:
            file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path}.lock cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lies = path.stat()
            boot = _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            os.close(file)
            return None
        self._file = file
        return f"{boot} {lies.st_dev}:{lies.st_ino}"

    def _lock_session(self) -> str | None:
        with self._database.session() as session:
            if not session.scalar(_TAKE_LOCK):
                session.close()
                return None
            self._session = session
            return str(session.scalar(_WHERE))
