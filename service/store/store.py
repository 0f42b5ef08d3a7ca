"""Store: the history of observations and decisions, and the state of each model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Row, Select, Table, and_, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.clock import Clock, SystemClock
from service.domain.decision import Action, Decision, Mode
from service.domain.errors import InvalidValueError, StoreError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.store import codec
from service.store.database import Database
from service.store.records import StoredObservation, StoredState
from service.store.schema import DECISIONS, MODELS, OBSERVATIONS

#: Observations fetched at once during a replay.
REPLAY_PAGE = 200

#: How long a SQLite call waits while another connection writes, seconds.
BUSY_TIMEOUT_SECONDS = 5.0


_Record = TypeVar("_Record")


class Store:
    """History in a database. Thread-safe; each call is one transaction, durable once it has returned.

    Open with :meth:`open`. Every method raises StoreError, which names the database and says what to do, when the
    database cannot be read or written.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
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
        """Release connections. Idempotent."""
        self._database.close()

    def add_observation(self, model: str, workload: Workload, config: ServingConfig, window: Window) -> int:
        """Remember a window; returns its id."""
        values = {
            "model": model,
            "observed_at": window.started_at + window.duration_seconds,
            "format": codec.FORMAT,
            "body": codec.observation_to_text(workload, config, window),
        }
        return self._insert(OBSERVATIONS, values)

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
                rows = connection.execute(query.limit(REPLAY_PAGE)).all()
            yield from map(self._observation, rows)
            if len(rows) < REPLAY_PAGE:
                return
            next_id = rows[-1].id + 1

    def add_decision(self, decision: Decision) -> Decision:
        """Remember a decision; returned with its id."""
        values = {
            "model": decision.model,
            "decided_at": decision.decided_at,
            "action": decision.action.value,
            "format": codec.FORMAT,
            "body": codec.decision_to_text(decision),
        }
        return replace(decision, id=self._insert(DECISIONS, values))

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
        return None if row is None else self._state(row)

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

    def prune(self, model: str, *, keep_observations: int, keep_holds: int, keep_decisions: int = 10_000) -> int:
        """Keep a model's newest observations, HOLD decisions and other decisions; the rest goes, in one transaction.

        Args:
            model: Whose history.
            keep_observations: How many observations stay.
            keep_holds: How many HOLD decisions stay; there are by far the most of them.
            keep_decisions: How many other decisions stay.

        Returns:
            How many rows went.
        """
        hold = DECISIONS.c.action == Action.HOLD.value
        kept = (
            (OBSERVATIONS, OBSERVATIONS.c.model == model, keep_observations),
            (DECISIONS, and_(DECISIONS.c.model == model, hold), keep_holds),
            (DECISIONS, and_(DECISIONS.c.model == model, ~hold), keep_decisions),
        )
        deleted = 0
        with self._database.transaction() as connection:
            for table, mine, keep in kept:
                newest_first = select(table.c.id).where(mine).order_by(table.c.id.desc())
                newest_to_go = connection.scalar(newest_first.offset(keep).limit(1))
                if newest_to_go is not None:
                    deleted += connection.execute(delete(table).where(mine, table.c.id <= newest_to_go)).rowcount
        return deleted

    def _insert(self, table: Table, values: dict[str, Any]) -> int:
        with self._database.transaction() as connection:
            return int(connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one())

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
        def read() -> StoredObservation:
            workload, config, window = codec.observation_from_text(row.body, row.format)
            return StoredObservation(
                id=row.id,
                model=row.model,
                observed_at=row.observed_at,
                workload=workload,
                config=config,
                window=window,
            )

        return self._decoded(read, f"observation {row.id}")

    def _decision(self, row: Row[Any]) -> Decision:
        return self._decoded(lambda: codec.decision_from_text(row.body, row.format, row.id), f"decision {row.id}")

    def _state(self, row: Row[Any]) -> StoredState:
        def config(text: str | None) -> ServingConfig | None:
            return None if text is None else ServingConfig.from_dict(codec.load(text, row.format))

        def read() -> StoredState:
            return StoredState(
                model=row.model,
                slo=None if row.slo is None else Slo.from_dict(codec.load(row.slo, row.format)),
                mode=None if row.mode is None else Mode(row.mode),
                incumbent=config(row.incumbent),
                generation=row.generation,
                last_known_good=config(row.last_known_good),
                updated_at=row.updated_at,
            )

        return self._decoded(read, f"the state of model {row.model!r}")

    def _decoded(self, read: Callable[[], _Record], what: str) -> _Record:
        try:
            return read()
        except codec.NewerFormatError as error:
            raise StoreError(f"{what} in {self._database.name} {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{what} in {self._database.name} is damaged: {error!r}; restore a backup, or delete that row"
            ) from error


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidValueError("limit", f"must be at least 1, not {limit}")
