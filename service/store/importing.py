"""Importing: what :mod:`service.store.exporting` wrote, into a database; all of it in one transaction, or nothing.

What is there already is left as it is, so importing twice is importing once. An import only appends: ids are given in
the order of writing, and a row that is older than what its model already has could not be put before it. Histories
are joined by importing the older one first. A model's state is taken over where the file's is the newer one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from sqlalchemy import Connection, Table, delete, insert, select, text

from service.domain.decision import Mode
from service.domain.errors import InvalidValueError, RegulusError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.store import codec, rows, tallies
from service.store.database import Database
from service.store.exporting import LAYOUT
from service.store.schema import DECISIONS, MODELS, OBSERVATIONS
from service.store.tally import Tally

#: Longest line, bytes; the longest sensible one is below 100 kB.
MAX_LINE_BYTES = 8 * 2**20

#: Lines that are looked up and inserted at once.
BATCH = 200

#: Two imports into one PostgreSQL take turns; any number of our own will do.
_IMPORT_LOCK = 7_283_411_906

#: Longest name of a model, characters: as wide as the column.
_MAX_NAME = 200


@dataclass(slots=True)
class TakenIn:
    """What an import did.

    Attributes:
        observations: How many were added.
        decisions: How many were added.
        states: Of how many models objective, mode and incumbent were taken over.
        known: How many lines said what was there already.
    """

    observations: int = 0
    decisions: int = 0
    states: int = 0
    known: int = 0


@dataclass(slots=True)
class _Line:
    number: int
    kind: str
    model: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _NewRow:
    """A row to be, the line it stands in and, of an observation, what it adds to the tally of its hour."""

    line: int
    time: float
    values: dict[str, Any]
    tally: Tally | None = None

    @property
    def identity(self) -> tuple[float, str]:
        """What tells rows of one kind and model apart."""
        return self.time, self.values["body"]


@dataclass(slots=True)
class _Tail:
    """The newest row that a model had before the import; ``passed`` once the file has come to it."""

    identity: tuple[float, str] | None
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.passed = self.identity is None


def import_lines(database: Database, lines: IO[bytes]) -> TakenIn:
    """Take in an export.

    Args:
        database: Where to.
        lines: The export, opened in binary mode; read once, from where it stands.

    Raises:
        InvalidValueError: A line cannot be used; its number is the field. Nothing was taken in.
        StoreError: The database failed. Nothing was taken in.
    """
    with database.transaction() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _IMPORT_LOCK})
        return _Import(connection, database.name).run(lines)


class _Import:
    def __init__(self, connection: Connection, database: str) -> None:
        self._connection = connection
        self._database = database
        self._taken = TakenIn()
        self._tails: dict[tuple[str, str], _Tail] = {}

    def run(self, lines: IO[bytes]) -> TakenIn:
        batch: list[_NewRow] = []
        batch_of: tuple[str, str] | None = None
        for line in _read(lines):
            if line.kind == "state":
                self._take_state(line)
                continue
            of = line.kind, line.model
            if batch_of is not None and (of != batch_of or len(batch) >= BATCH):
                self._take(*batch_of, batch)
                batch = []
            batch_of = of
            batch.append(_row(line))
        if batch_of is not None:
            self._take(*batch_of, batch)
        return self._taken

    def _take(self, kind: str, model: str, batch: list[_NewRow]) -> None:
        table = OBSERVATIONS if kind == "observation" else DECISIONS
        tail = self._tails.get((kind, model))
        if tail is None:
            tail = self._tails[kind, model] = _Tail(self._newest(table, model))
        there = self._there(table, model, [row.time for row in batch])
        fresh: list[_NewRow] = []
        for row in batch:
            if row.identity == tail.identity:
                tail.passed = True
            if row.identity in there:
                self._taken.known += 1
                continue
            if not tail.passed and tail.identity is not None and row.time <= tail.identity[0]:
                raise _wrong(
                    row.line,
                    f"this {kind} of {model!r} is older than the newest in {self._database} and is missing there, but "
                    "an import only appends; to join two histories export the newer one, and import the older and "
                    "then the newer file into a new database",
                )
            there.add(row.identity)
            fresh.append(row)
        if fresh:
            self._connection.execute(insert(table), [row.values for row in fresh])
            tallies.add(self._connection, self._database, model, (row.tally for row in fresh if row.tally is not None))
        if table is OBSERVATIONS:
            self._taken.observations += len(fresh)
        else:
            self._taken.decisions += len(fresh)

    def _newest(self, table: Table, model: str) -> tuple[float, str] | None:
        query = select(table).where(table.c.model == model).order_by(table.c.id.desc()).limit(1)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else self._identity(table, row)

    def _there(self, table: Table, model: str, times: list[float]) -> set[tuple[float, str]]:
        time = table.c.observed_at if table is OBSERVATIONS else table.c.decided_at
        query = select(table).where(table.c.model == model, time.in_(times))
        return {self._identity(table, row) for row in self._connection.execute(query)}

    def _identity(self, table: Table, row: Any) -> tuple[float, str]:
        """As of :class:`_NewRow`; rows in an older layout are read and written anew."""
        if table is OBSERVATIONS:
            if row.format == codec.FORMAT:
                return row.observed_at, row.body
            seen = rows.observation(row, self._database)
            return row.observed_at, codec.observation_to_text(seen.workload, seen.config, seen.window)
        if row.format == codec.FORMAT:
            return row.decided_at, row.body
        return row.decided_at, codec.decision_to_text(rows.decision(row, self._database))

    def _take_state(self, line: _Line) -> None:
        values = _understood(line, _state_values)
        mine = MODELS.c.model == line.model
        present = self._connection.scalar(select(MODELS.c.updated_at).where(mine).with_for_update())
        if present is not None and present >= values["updated_at"]:
            self._taken.known += 1
            return
        self._connection.execute(delete(MODELS).where(mine))
        self._connection.execute(insert(MODELS).values(model=line.model, **values))
        self._taken.states += 1


def _read(lines: IO[bytes]) -> Iterator[_Line]:
    """The lines between header and end, checked as far as that goes without knowing their kind."""
    number = 0
    for number, raw in enumerate(iter(lambda: lines.readline(MAX_LINE_BYTES + 1), b""), start=1):
        if len(raw) > MAX_LINE_BYTES:
            raise _wrong(number, f"is longer than {MAX_LINE_BYTES} bytes, which no line of an export is")
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            cut_off = "" if raw.endswith(b"\n") else "; the file seems to be cut off there"
            raise _wrong(number, f"is no JSON: {error}{cut_off}") from None
        if not isinstance(content, dict):
            raise _wrong(number, "is no JSON object")
        if number == 1:
            _check_header(content)
        elif content.get("kind") == "end":
            if content.get("lines") != number - 2:
                raise _wrong(number, f"lines are missing: {content.get('lines')} were exported, here are {number - 2}")
            if lines.readline(1):
                raise _wrong(number + 1, "nothing may follow the end; are these several exports? Import one by one")
            return
        else:
            yield _line(number, content)
    if number == 0:
        raise _wrong(1, "the file is empty")
    raise _wrong(number + 1, "the end is missing: the file was cut off, so nothing of it was taken in")


def _check_header(content: dict[str, Any]) -> None:
    layout, form = content.get("regulus_history"), content.get("format")
    if not isinstance(layout, int) or not isinstance(form, int):
        raise _wrong(1, "is no header of a history that Regulus exported")
    if layout > LAYOUT or form > codec.FORMAT:
        version = str(content.get("regulus", "a newer version"))[:40]
        raise _wrong(1, f"was written by a newer Regulus ({version}): update Regulus")


def _line(number: int, content: dict[str, Any]) -> _Line:
    kind, model, body = content.get("kind"), content.get("model"), content.get("body")
    if kind not in ("state", "observation", "decision"):
        raise _wrong(number, f"kind is {str(kind)[:40]!r}, not state, observation, decision or end")
    if not isinstance(model, str) or not 0 < len(model) <= _MAX_NAME or "\0" in model:
        raise _wrong(number, f"model must be a name of 1 to {_MAX_NAME} characters")
    if not isinstance(body, dict):
        raise _wrong(number, "body is missing or no JSON object")
    return _Line(number, kind, model, body)


def _row(line: _Line) -> _NewRow:
    values = _understood(line, _observation_values if line.kind == "observation" else _decision_values)
    tally = values.pop("tally", None)
    return _NewRow(line.number, values["observed_at" if line.kind == "observation" else "decided_at"], values, tally)


def _understood(line: _Line, values: Any) -> dict[str, Any]:
    """The row's values; what is wrong with them is told with the line's number."""
    try:
        return {"format": codec.FORMAT, **values(line)}
    except KeyError as error:
        raise _wrong(line.number, f"{line.kind}: {error} is missing") from error
    except (RegulusError, ValueError, TypeError, AttributeError) as error:
        raise _wrong(line.number, f"{line.kind}: {error}") from error


def _observation_values(line: _Line) -> dict[str, Any]:
    workload, config, window = codec.observation_from_raw(line.body)
    return {
        "model": line.model,
        "observed_at": _finite(window.started_at + window.duration_seconds, "time"),
        "body": codec.observation_to_text(workload, config, window),
        "tally": Tally.of(window),
    }


def _decision_values(line: _Line) -> dict[str, Any]:
    decision = codec.decision_from_raw(line.body, None)
    if decision.model != line.model:
        raise ValueError(f"is of model {decision.model!r} inside and {line.model!r} outside")
    return {
        "model": line.model,
        "decided_at": _finite(decision.decided_at, "decided_at"),
        "action": decision.action.value,
        "body": codec.decision_to_text(decision),
    }


def _state_values(line: _Line) -> dict[str, Any]:
    body, generation = line.body, line.body["generation"]
    if generation is not None and (not isinstance(generation, int) or not 0 <= generation < 2**63):
        raise ValueError(f"generation must be a whole number, not {generation!r}")

    def config(name: str) -> str | None:
        return None if body[name] is None else codec.dump(ServingConfig.from_dict(body[name]).to_dict())

    return {
        "slo": None if body["slo"] is None else codec.dump(Slo.from_dict(body["slo"]).to_dict()),
        "mode": None if body["mode"] is None else Mode(body["mode"]).value,
        "incumbent": config("incumbent"),
        "generation": generation,
        "last_known_good": config("last_known_good"),
        "updated_at": _finite(body["updated_at"], "updated_at"),
    }


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return float(value)


def _wrong(line: int, message: str) -> InvalidValueError:
    return InvalidValueError(f"line {line}", message)
