"""Postgres: a PostgreSQL server of the tests' own, on a Unix socket in a folder of its own; no port is taken.

Where no PostgreSQL is installed, REGULUS_TEST_POSTGRES_URL may name a database in which tests may make schemas.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

from tests.support.processes import wait_until

#: Names a PostgreSQL database in which tests may make schemas, such as postgresql+psycopg://user@host/name.
POSTGRES_VARIABLE = "REGULUS_TEST_POSTGRES_URL"

#: Small, and without flushing to the disk: a killed server loses nothing by that, only a machine would.
_OPTIONS = ("listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=60", "autovacuum=off")


@dataclass
class Postgres:
    """A server, and a way to kill it.

    Attributes:
        url: A database of it, as a superuser.
    """

    url: str
    _programs: Path | None = None
    _folder: Path | None = None
    _owner: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def schema(self) -> Iterator[str]:
        """URL of an empty schema, which goes when the block ends."""
        name = f"regulus_test_{uuid.uuid4().hex}"
        self.run(f"CREATE SCHEMA {name}")
        yield make_url(self.url).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(False)
        self.run(f"DROP SCHEMA {name} CASCADE")

    def run(self, statements: str, url: str | None = None) -> None:
        """Run SQL as it stands."""
        engine = create_engine(url or self.url)
        try:
            with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(statements)
                connection.commit()
        finally:
            engine.dispose()

    @property
    def ours(self) -> bool:
        """Whether the server is the tests' own and may be killed."""
        return self._programs is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._programs is not None
        assert self._folder is not None
        options = [word for option in _OPTIONS for word in ("-c", option)]
        command = [self._programs / "postgres", "-D", self._folder / "data", "-k", self._folder, *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._owner)
        wait_until(self._answers, what="PostgreSQL answers")

    def kill(self) -> None:
        """End it as ``kill -9`` would, with all its processes."""
        if self._process is None or self._process.poll() is not None:
            return
        # Immediate shutdown: the children are not left behind, and nothing is written on the way out.
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "PostgreSQL ended"
        try:
            self.run("SELECT 1")
        except psycopg.Error:
            return False
        return True


def _programs() -> Path | None:
    """Where initdb and postgres lie; Debian keeps them out of the way of PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for this run of the tests; skips where there is none."""
    url, programs = os.environ.get(POSTGRES_VARIABLE), _programs()
    if url:
        yield Postgres(url)
        return
    if programs is None:
        pytest.skip(f"PostgreSQL is not installed, and {POSTGRES_VARIABLE} names none")
    # Not pytest's own folder: its path is long for a socket, and closed to the user that PostgreSQL wants to run as.
    folder = Path(tempfile.mkdtemp(prefix="regulus-postgres-"))
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        user = next((entry for entry in pwd.getpwall() if entry.pw_name == "postgres"), pwd.getpwnam("nobody"))
        os.chown(folder, user.pw_uid, user.pw_gid)
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    server = Postgres(f"postgresql+psycopg://postgres@/postgres?host={folder}", programs, folder, owner)
    try:
        initdb = (programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync")
        locale = ("-E", "UTF8", "--locale=C")
        subprocess.run([*initdb, *locale], check=True, capture_output=True, cwd=folder, timeout=100, **owner)
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
