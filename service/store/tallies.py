"""Tallies: the table of what each hour's windows add up to; see :mod:`service.store.tally`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.store import codec, rows
from service.store.database import Database
from service.store.schema import TALLIES
from service.store.tally import Tally

#: Newest tallies of a model that stay: a year's and a day's. By number and not by age: a wrong clock drops nothing.
KEPT = 366 * 24


def add(connection: Connection, database: str, model: str, fresh: Iterable[Tally]) -> None:
    """Count windows, in the transaction that writes them.

    Args:
        connection: In that transaction.
        database: What errors call the database.
        model: Whose they are.
        fresh: One tally for each window.

    Raises:
        StoreError: The tally of that hour is damaged.
    """
    sums: dict[int, Tally] = {}
    for tally in fresh:
        known = sums.get(tally.hour)
        sums[tally.hour] = known.plus(tally) if known is not None else tally
    for hour in sorted(sums):
        _add(connection, database, model, sums[hour])


def _add(connection: Connection, database: str, model: str, tally: Tally) -> None:
    this = and_(TALLIES.c.model == model, TALLIES.c.hour == tally.hour)
    present = select(TALLIES).where(this).with_for_update()
    row = connection.execute(present).one_or_none()
    if row is None:
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        fresh = insert(TALLIES).values(model=model, hour=tally.hour, **_values(tally)).on_conflict_do_nothing()
        if connection.execute(fresh.returning(TALLIES.c.hour)).one_or_none() is not None:
            return
        # Another service was first.
        row = connection.execute(present).one()
    both = rows.tally(row, database).plus(tally)
    connection.execute(update(TALLIES).where(this).values(_values(both)))


def read(connection: Connection, database: str, model: str, since_hour: int) -> list[Tally]:
    """A model's tallies from an hour on, oldest first; arguments and errors as of :func:`add`."""
    mine = select(TALLIES).where(TALLIES.c.model == model, TALLIES.c.hour >= since_hour)
    return [rows.tally(row, database) for row in connection.execute(mine.order_by(TALLIES.c.hour))]


def seen(connection: Connection, model: str) -> tuple[int, float | None]:
    """How many windows a model's tallies hold, and when the first of them began."""
    sums = select(func.sum(TALLIES.c.windows), func.min(TALLIES.c.began_at)).where(TALLIES.c.model == model)
    windows, began_at = connection.execute(sums).one()
    return int(windows or 0), began_at


def prune(database: Database, model: str) -> int:
    """Drop tallies beyond the newest :data:`KEPT`; returns how many went.

    Raises:
        StoreError: The database failed.
    """
    mine = TALLIES.c.model == model
    newest_first = select(TALLIES.c.hour).where(mine).order_by(TALLIES.c.hour.desc())
    with database.reading() as connection:
        first = connection.scalar(newest_first.offset(KEPT).limit(1))
    if first is None:
        return 0
    with database.transaction() as connection:
        return connection.execute(delete(TALLIES).where(mine, TALLIES.c.hour <= first)).rowcount


def _values(tally: Tally) -> dict[str, Any]:
    return {
        "windows": tally.windows,
        "began_at": tally.began_at,
        "ended_at": tally.ended_at,
        "requests": tally.requests,
        "lost": tally.lost,
        "format": codec.FORMAT,
        "latency": codec.dump({"histograms": [part.to_dict() for part in tally.latency]}),
    }
