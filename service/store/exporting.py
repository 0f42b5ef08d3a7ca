"""Exporting: the history as lines of JSON, for a backup, another database, or another program.

The first line is a header, the last one says how many came between; so what was cut off is noticed::

    {"regulus_history": 1, "format": 1, "exported_at": 1700000000.0, "regulus": "0.1.0"}
    {"kind": "state", "model": "m", "body": {"slo": …, "mode": …, "incumbent": …, …}}
    {"kind": "observation", "model": "m", "body": {"workload": …, "config": …, "window": …}}
    {"kind": "decision", "model": "m", "id": 118, "body": {"decided_at": …, "action": …, …}}
    {"kind": "end", "lines": 3}

Bodies are as :mod:`service.store.codec` writes them in its newest layout. Model by model: state, observations,
decisions, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Row, Table, func, select, union

from service import __version__
from service.store import codec, rows
from service.store.database import Database
from service.store.records import StoredState
from service.store.schema import DECISIONS, MODELS, OBSERVATIONS

#: Number of the layout of the lines; grows when an older Regulus would misread them.
LAYOUT = 1

#: Rows read at once. Pages rather than one long transaction, which would keep SQLite's log from being cut short.
PAGE = 200


def export_lines(database: Database, now: float, model: str | None = None) -> Iterator[str]:
    """The history, one line after the other, each with its line feed; what is added meanwhile is left out.

    Args:
        database: Where from.
        now: Unix time, seconds.
        model: Only this one; None: all.

    Raises:
        StoreError: The database failed, or a row is damaged; what was given is then no whole export.
    """
    header = {"regulus_history": LAYOUT, "format": codec.FORMAT, "exported_at": now, "regulus": __version__}
    yield codec.dump(header) + "\n"
    count = 0
    for name in [model] if model is not None else _models(database):
        for line in _model_lines(database, name):
            yield line + "\n"
            count += 1
    yield codec.dump({"kind": "end", "lines": count}) + "\n"


def _models(database: Database) -> list[str]:
    every = union(*(select(table.c.model) for table in (MODELS, OBSERVATIONS, DECISIONS)))
    with database.reading() as connection:
        return sorted(connection.scalars(every))


def _model_lines(database: Database, model: str) -> Iterator[str]:
    name, called = codec.dump(model), database.name
    with database.reading() as connection:
        row = connection.execute(select(MODELS).where(MODELS.c.model == model)).one_or_none()
    if row is not None:
        body = codec.dump(state_to_raw(rows.state(row, called)))
        yield f'{{"kind":"state","model":{name},"body":{body}}}'

    def observation(row: Row[Any]) -> str:
        seen = rows.observation(row, called)
        body = codec.observation_to_text(seen.workload, seen.config, seen.window)
        return f'{{"kind":"observation","model":{name},"body":{body}}}'

    def decision(row: Row[Any]) -> str:
        body = codec.decision_to_text(rows.decision(row, called))
        return f'{{"kind":"decision","model":{name},"id":{row.id},"body":{body}}}'

    yield from _table_lines(database, OBSERVATIONS, model, observation)
    yield from _table_lines(database, DECISIONS, model, decision)


def _table_lines(database: Database, table: Table, model: str, line: Callable[[Row[Any]], str]) -> Iterator[str]:
    mine = table.c.model == model
    with database.reading() as connection:
        newest = connection.scalar(select(func.max(table.c.id)).where(mine))
    last = 0
    while newest is not None:
        query = select(table).where(mine, table.c.id > last, table.c.id <= newest).order_by(table.c.id).limit(PAGE)
        with database.reading() as connection:
            page = connection.execute(query).all()
        yield from map(line, page)
        if len(page) < PAGE:
            return
        last = page[-1].id


def state_to_raw(state: StoredState) -> dict[str, Any]:
    """JSON-ready; what is intended is left out, for it means nothing elsewhere or later."""
    return {
        "slo": state.slo.to_dict() if state.slo else None,
        "mode": state.mode.value if state.mode else None,
        "incumbent": state.incumbent.to_dict() if state.incumbent else None,
        "generation": state.generation,
        "last_known_good": state.last_known_good.to_dict() if state.last_known_good else None,
        "updated_at": state.updated_at,
    }
