"""Faults of the history: no room, no lock, no sense."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.faults.fault import fault
from benchmarks.faults.programs import until
from benchmarks.faults.stand import EMBEDDED, Stand
from benchmarks.faults.trial import Trial

_PAGE = 4096
_HISTORY = ("the history cannot be used", "store_unavailable", "the history")


def _emptied_log(database: Path) -> None:
    """Write everything to the database itself, so that the next write needs room."""
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _refuses_orders(trial: Trial, stand: Stand) -> None:
    """An order that cannot be remembered must not be carried out."""
    before = (await stand.backend.read()).generation
    answer = await stand.control.order(await stand.another())
    after = (await stand.backend.read()).generation
    refused = answer is not None and not answer.is_success and after == before
    seen = "no answer" if answer is None else f"{answer.status_code}, generation {before} → {after}"
    trial.expect("what cannot be remembered is not done", refused, seen)


@fault("disk of the history full", EMBEDDED)
async def disk_full(trial: Trial) -> None:
    """Nothing is changed that could not be remembered, and it goes on by itself once there is room."""
    stand = trial.stand
    _emptied_log(stand.control.database)
    trial.inject()
    stand.disk.fill(stand.control.program.pid)
    try:
        await trial.says(*_HISTORY, within=30.0)
        await _refuses_orders(trial, stand)
        await asyncio.sleep(1.0)
    finally:
        stand.disk.free(stand.control.program.pid)
    trial.lift()
    await trial.recovers(stand.agreed)


@fault("database locked by another program", EMBEDDED)
async def database_locked(trial: Trial) -> None:
    """Nothing is changed that could not be remembered, and it goes on by itself once the lock is gone."""
    stand = trial.stand
    with closing(sqlite3.connect(stand.control.database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        trial.inject()
        await trial.says(*_HISTORY, within=30.0)
        await _refuses_orders(trial, stand)
        connection.execute("ROLLBACK")
    trial.lift()
    await trial.recovers(stand.agreed)


#: More than a lease lasts without a sign of its holder.
_LEASE_SECONDS = 90.0


@fault("database corrupted", EMBEDDED, soak=False)
async def database_corrupted(trial: Trial) -> None:
    """The service says what is wrong and touches nothing; with the file moved away it begins anew.

    What the damage destroyed is gone: that no acknowledged decision is lost is not asked of this one.
    """
    stand = trial.stand
    program, database = stand.control.program, stand.control.database
    trial.history_lost = True
    _emptied_log(database)
    trial.inject()
    with database.open("r+b") as file:
        size = database.stat().st_size
        file.seek(0 if trial.rng.random() < 0.3 else _PAGE)
        file.write(trial.rng.bytes(max(size - file.tell(), _PAGE)))
    before = (await stand.backend.read()).generation
    await asyncio.sleep(2.0)
    await program.kill()
    damaged = database.stat()
    await program.spawn()
    status = await program.ends(30.0)
    words = program.log
    advice = any(word in words for word in ("damaged", "malformed", "not a database", "no SQLite database"))
    trial.expect("the reason is visible", status == 1 and advice, f"exit status {status}: {words[-300:]}")
    trial.said.append("at its start: the file is damaged")
    # Its contents may change: SQLite brings what its log holds into it.
    left = database.stat()
    trial.expect("the damaged file is still there", left.st_ino == damaged.st_ino and left.st_size >= damaged.st_size)
    await program.kill()
    for suffix in ("", "-wal", "-shm"):
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.rename(part.with_name(f"damaged-{part.name}"))
    trial.lift()
    await program.start()
    await trial.recovers(stand.agreed)
    for part in database.parent.glob("damaged-*"):
        part.unlink()
    trial.expect("the server was not touched", (await stand.backend.read()).generation >= before)

    async def ordered() -> bool:
        answer = await stand.control.order(await stand.another())
        return answer is not None and answer.is_success

    # With the history went the knowledge of who is dead, so that one's lease has to run out.
    trial.expect("an order is carried out", await until(ordered, _LEASE_SECONDS, every=1.0))
