"""Retention: old history goes, a few rows at a time, so that nobody who writes waits for long.

Each call drops some and ends; the caller comes back after a pause, until nothing is left to drop. Rows go because there
are too many or because they are too old; the newest stay however old they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, or_, select

from service.domain.decision import Action
from service.domain.errors import InvalidValueError
from service.store import tallies
from service.store.database import Database
from service.store.schema import DECISIONS, OBSERVATIONS

#: Rows of one kind that go in one transaction: some ten milliseconds during which others wait.
BATCH = 200

#: Free pages (4 KiB) of a SQLite file given back in one transaction.
PAGES = 500

#: SQLite's number for ``auto_vacuum = INCREMENTAL``.
_INCREMENTAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much of one model's history stays.

    Attributes:
        observations: Newest observations that stay.
        holds: Newest HOLD decisions that stay; there are by far the most of them.
        decisions: Newest other decisions that stay.
        max_age_seconds: What is so much older than the model's newest row of its kind goes, however few rows there
            are; None: nothing goes for its age.
        learns_from: Newest observations that stay whatever their age, because the learner begins with them.

    Raises:
        InvalidValueError: A count is negative, or the age not positive.
    """

    observations: int
    holds: int
    decisions: int
    max_age_seconds: float | None
    learns_from: int

    def __post_init__(self) -> None:
        for name in ("observations", "holds", "decisions", "learns_from"):
            if getattr(self, name) < 0:
                raise InvalidValueError(name, f"must not be negative, not {getattr(self, name)}")
        if self.max_age_seconds is not None and not self.max_age_seconds > 0:
            raise InvalidValueError("max_age_seconds", f"must be positive, not {self.max_age_seconds}")


#: Newest decisions of each kind that stay whatever their age: what was done last is always known.
NEWEST_DECISIONS = 100


def prune(database: Database, model: str, retention: Retention, now: float) -> int:
    """Drop some of what need not stay of one model's history: of each kind at most :data:`BATCH` rows, the oldest.

    A clock that is wrong drops nothing: age counts back from the newest row, or from now where that is earlier.

    Args:
        database: Where.
        model: Whose history.
        retention: What stays.
        now: Unix time, seconds.

    Returns:
        How many rows went; 0 when all that is left may stay.

    Raises:
        StoreError: The database failed; what went before is gone, the rest is whole.
    """
    mine = DECISIONS.c.model == model
    hold = DECISIONS.c.action == Action.HOLD.value
    age = retention.max_age_seconds
    kinds = (
        (OBSERVATIONS, OBSERVATIONS.c.model == model, retention.observations, retention.learns_from),
        (DECISIONS, and_(mine, hold), retention.holds, NEWEST_DECISIONS),
        (DECISIONS, and_(mine, ~hold), retention.decisions, NEWEST_DECISIONS),
    )
    deleted = 0
    for table, kind, keep, whatever_age in kinds:
        superfluous = _superfluous(database, table, kind, keep, whatever_age, age, now)
        if superfluous is not None:
            deleted += _drop_some(database, table, and_(kind, superfluous))
    return deleted + tallies.prune(database, model)


def _superfluous(
    database: Database,
    table: Table,
    kind: ColumnElement[bool],
    keep: int,
    whatever_age: int,
    age: float | None,
    now: float,
) -> ColumnElement[bool] | None:
    """What goes of one kind: all up to a certain row, and what is too old up to another; None: nothing."""
    time = _time(table)
    newest_first = select(table.c.id, time).where(kind).order_by(table.c.id.desc())
    with database.reading() as connection:
        newest = connection.execute(newest_first.limit(1)).one_or_none()
        too_many = connection.execute(newest_first.offset(keep).limit(1)).one_or_none()
        may_age = connection.execute(newest_first.offset(whatever_age).limit(1)).one_or_none()
    doomed: list[ColumnElement[bool]] = []
    if too_many is not None:
        doomed.append(table.c.id <= too_many.id)
    if age is not None and newest is not None and may_age is not None:
        doomed.append(and_(time < min(now, newest[1]) - age, table.c.id <= may_age.id))
    return or_(*doomed) if doomed else None


def _drop_some(database: Database, table: Table, doomed: ColumnElement[bool]) -> int:
    some = select(table.c.id).where(doomed).order_by(table.c.id).limit(BATCH)
    with database.transaction() as connection:
        went = connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
        if went and database.dialect == "sqlite":
            _give_back_pages(connection)
    return went


def _give_back_pages(connection: Connection) -> None:
    """Shorten a SQLite file; one made before it could be keeps its free pages and uses them again."""
    if connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() != _INCREMENTAL:
        return
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0
    for _ in range(min(free, PAGES)):
        # Asked for many pages, SQLite gives back one a step, and Python's driver makes only the first step.
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")


def _time(table: Table) -> ColumnElement[float]:
    return table.c.observed_at if table is OBSERVATIONS else table.c.decided_at
