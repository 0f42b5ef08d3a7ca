"""Store: the history of observations and decisions, and the state of each model."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import IO, Any

from sqlalchemy import Row, Select, Table, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.clock import Clock, SystemClock
from service.domain.decision import Action, Decision, Mode
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.store import codec, rows, tallies
from service.store.database import Database
from service.store.exporting import export_lines
from service.store.importing import TakenIn, import_lines
from service.store.keeping import Keeping
from service.store.records import StoredGuards, StoredObservation, StoredState
from service.store.retention import Retention, prune
from service.store.schema import DECISIONS, MODELS, OBSERVATIONS
from service.store.tally import Tally, hour_of

#: Observations fetched at once during a replay.
REPLAY_PAGE = 200

#: How long a SQLite call waits while another connection writes, seconds.
BUSY_TIMEOUT_SECONDS = 5.0


#: What puts a configuration in force.
CHANGES = frozenset({Action.APPLY, Action.ROLLBACK, Action.MANUAL})


class Store:
    """History in a database. Thread-safe; each call is one transaction, durable once it has returned.

    Open with :meth:`open`. Every method raises StoreError, which names the database and says what to do, when the
    database cannot be read or written.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._keeping = Keeping(database)
        self._upsert = sqlite.insert if database.dialect == "sqlite" else postgresql.insert

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> Store:
        """Open (and make, and migrate) the database.

        Args:
            url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite://`` (in memory), or
                ``postgresql+psycopg://user@host/name``.
            clock: Stamps changes of state; the machine's own by default.
            busy_timeout_seconds: How long a SQLite call waits while another connection writes.

        Raises:
            StoreError: It cannot be opened, or was written by a newer Regulus.
        """
        return cls(Database(url, busy_timeout_seconds=busy_timeout_seconds), clock or SystemClock())

    def close(self) -> None:
        """Release connections, and let another service keep the database. Idempotent."""
        self._keeping.end()
        self._database.close()

    def keep(self, name: str) -> str | None:
        """Keep the database for this service until :meth:`close`; see :mod:`service.store.keeping`.

        Args:
            name: Of this service.

        Returns:
            The name of the service that kept it before and is certainly dead; None where that is not known.
        """
        return self._keeping.begin(name)

    def add_observation(self, model: str, workload: Workload, config: ServingConfig, window: Window) -> int:
        """Remember a window; returns its id."""
        values = {
            "model": model,
            "observed_at": window.started_at + window.duration_seconds,
            "format": codec.FORMAT,
            "body": codec.observation_to_text(workload, config, window),
        }
        with self._database.transaction() as connection:
            added = insert(OBSERVATIONS).values(values).returning(OBSERVATIONS.c.id)
            number = int(connection.execute(added).scalar_one())
            tallies.add(connection, self._database.name, model, [Tally.of(window)])
        return number

    def observations(self, model: str, *, limit: int = 100, before_id: int | None = None) -> list[StoredObservation]:
        """Observations, newest first; the next page starts with ``before_id`` the last one's id."""
        query = select(OBSERVATIONS).where(OBSERVATIONS.c.model == model)
        return [self._observation(row) for row in self._newest_first(query, OBSERVATIONS, limit, before_id)]

    def replay(self, model: str, *, limit: int | None = None) -> Iterator[StoredObservation]:
        """The most recent ``limit`` observations (all with None), oldest first."""
        table = OBSERVATIONS.c
        next_id = 0
        if limit is not None:
            _check_limit(limit)
            with self._database.reading() as connection:
                newest = select(table.id).where(table.model == model).order_by(table.id.desc())
                next_id = connection.scalar(newest.offset(limit - 1).limit(1)) or 0
        while True:
            query = select(OBSERVATIONS).where(table.model == model, table.id >= next_id).order_by(table.id)
            with self._database.reading() as connection:
                page = connection.execute(query.limit(REPLAY_PAGE)).all()
            yield from map(self._observation, page)
            if len(page) < REPLAY_PAGE:
                return
            next_id = page[-1].id + 1

    def tallies(self, model: str, *, since: float) -> list[Tally]:
        """What the windows of each hour add up to, from the hour of ``since`` (Unix time, seconds) on, oldest first.

        They reach back further than the observations: a year.
        """
        with self._database.reading() as connection:
            return tallies.read(connection, self._database.name, model, hour_of(since))

    def seen(self, model: str) -> tuple[int, float | None]:
        """How many windows of a model were ever remembered, within a year, and when the first began (None: none).

        Those that were written before there were tallies count as long as they are held.
        """
        held = select(func.count(), func.min(OBSERVATIONS.c.observed_at)).where(OBSERVATIONS.c.model == model)
        with self._database.reading() as connection:
            tallied, began_at = tallies.seen(connection, model)
            windows, oldest = connection.execute(held).one()
        moments = [moment for moment in (began_at, oldest) if moment is not None]
        return max(tallied, windows), min(moments, default=None)

    def add_decision(self, decision: Decision) -> Decision:
        """Remember a decision; returned with its id."""
        values = {
            "model": decision.model,
            "decided_at": decision.decided_at,
            "action": decision.action.value,
            "format": codec.FORMAT,
            "body": codec.decision_to_text(decision),
        }
        with self._database.transaction() as connection:
            number = int(connection.execute(insert(DECISIONS).values(values).returning(DECISIONS.c.id)).scalar_one())
            if decision.action in CHANGES:
                # What was intended is done: the two are never both there, nor both missing.
                connection.execute(update(MODELS).where(MODELS.c.model == decision.model).values(intent=None))
        return replace(decision, id=number)

    def decision(self, decision_id: int) -> Decision | None:
        """One decision; None where there is none of that id."""
        with self._database.reading() as connection:
            row = connection.execute(select(DECISIONS).where(DECISIONS.c.id == decision_id)).one_or_none()
        return None if row is None else self._decision(row)

    def decisions(
        self,
        model: str | None = None,
        *,
        limit: int = 50,
        before_id: int | None = None,
        actions: AbstractSet[Action] | None = None,
    ) -> list[Decision]:
        """Decisions, newest first, of one model or of all; ``actions`` keeps only these."""
        query = select(DECISIONS)
        if model is not None:
            query = query.where(DECISIONS.c.model == model)
        if actions is not None:
            query = query.where(DECISIONS.c.action.in_(sorted(action.value for action in actions)))
        return [self._decision(row) for row in self._newest_first(query, DECISIONS, limit, before_id)]

    def state(self, model: str) -> StoredState | None:
        """What is remembered of a model; None when nothing is."""
        with self._database.reading() as connection:
            row = connection.execute(select(MODELS).where(MODELS.c.model == model)).one_or_none()
        return None if row is None else rows.state(row, self._database.name)

    def put_slo(self, model: str, slo: Slo) -> None:
        """Remember the objective."""
        self._put(model, slo=codec.dump(slo.to_dict()))

    def put_mode(self, model: str, mode: Mode) -> None:
        """Remember the mode."""
        self._put(model, mode=mode.value)

    def put_incumbent(self, model: str, config: ServingConfig, generation: int) -> None:
        """Remember what is in force."""
        self._put(model, incumbent=codec.dump(config.to_dict()), generation=generation)

    def put_last_known_good(self, model: str, config: ServingConfig) -> None:
        """Remember what last met the objective."""
        self._put(model, last_known_good=codec.dump(config.to_dict()))

    def put_intent(self, decision: Decision) -> None:
        """Remember what is about to be ordered, before it is.

        It stands until a decision that changed something, or another intent, is written for the model. Found at a
        start, it tells what the program before died at: whether it came into force, the agent knows.
        """
        self._put(decision.model, intent=codec.decision_to_text(decision))

    def put_guards(self, model: str, guards: StoredGuards) -> None:
        """Remember what the guardrails must not forget."""
        self._put(model, guards=codec.guards_to_text(guards))

    def prune(
        self,
        model: str,
        *,
        keep_observations: int,
        keep_holds: int,
        keep_decisions: int = 10_000,
        max_age_seconds: float | None = None,
        learns_from: int = 0,
    ) -> int:
        """Drop some of what need not stay of a model's history, so little that others hardly wait.

        To be called again, after a pause, until nothing went; see :mod:`service.store.retention`.

        Args:
            model: Whose history.
            keep_observations: How many of the newest observations stay.
            keep_holds: How many of the newest HOLD decisions stay; there are by far the most of them.
            keep_decisions: How many of the newest other decisions stay.
            max_age_seconds: What is so much older than the model's newest row of its kind goes, however few rows there
                are; None: nothing goes for its age.
            learns_from: How many of the newest observations stay whatever their age.

        Returns:
            How many rows went; 0 when all that is left may stay.

        Raises:
            InvalidValueError: A count is negative, or the age not positive.
        """
        retention = Retention(
            observations=keep_observations,
            holds=keep_holds,
            decisions=keep_decisions,
            max_age_seconds=max_age_seconds,
            learns_from=learns_from,
        )
        return prune(self._database, model, retention, self._clock.time())

    def export(self, model: str | None = None) -> Iterator[str]:
        """The history of one model or of all as lines of JSON; see :mod:`service.store.exporting`."""
        return export_lines(self._database, self._clock.time(), model)

    def take_in(self, lines: IO[bytes]) -> TakenIn:
        """Import what :meth:`export` gave, all of it or nothing; see :mod:`service.store.importing`.

        Raises:
            InvalidValueError: A line cannot be used; its number is the field.
        """
        return import_lines(self._database, lines)

    def _put(self, model: str, **values: Any) -> None:
        values |= {"format": codec.FORMAT, "updated_at": self._clock.time()}
        statement = self._upsert(MODELS).values(model=model, **values)
        with self._database.transaction() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=[MODELS.c.model], set_=values))

    def _newest_first(self, query: Select[Any], table: Table, limit: int, before_id: int | None) -> list[Row[Any]]:
        _check_limit(limit)
        if before_id is not None:
            query = query.where(table.c.id < before_id)
        with self._database.reading() as connection:
            return list(connection.execute(query.order_by(table.c.id.desc()).limit(limit)).all())

    def _observation(self, row: Row[Any]) -> StoredObservation:
        return rows.observation(row, self._database.name)

    def _decision(self, row: Row[Any]) -> Decision:
        return rows.decision(row, self._database.name)


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidValueError("limit", f"must be at least 1, not {limit}")
