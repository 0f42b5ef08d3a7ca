"""Store: the history of observations and decisions, and the state of each model."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Mode
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.store.records import StoredObservation, StoredState


class Store:
    """History in a database. Thread-safe; each call is one transaction, durable once it has returned.

    Open with :meth:`open`. Every method raises StoreError, which names the database and says what to do, when the
    database cannot be read or written.
    """

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None) -> Store:
        """Open (and make, and migrate) the database.

        Args:
            url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite://`` (in memory), or
                ``postgresql+psycopg://user@host/name``.
            clock: Stamps changes of state; the machine's own by default.

        Raises:
            StoreError: It cannot be opened, or was written by a newer Regulus.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release connections. Idempotent."""
        raise NotImplementedError

    def add_observation(self, model: str, workload: Workload, config: ServingConfig, window: Window) -> int:
        """Remember a window; returns its id."""
        raise NotImplementedError

    def observations(self, model: str, *, limit: int = 100, before_id: int | None = None) -> list[StoredObservation]:
        """Observations, newest first; the next page starts with ``before_id`` the last one's id."""
        raise NotImplementedError

    def replay(self, model: str, *, limit: int | None = None) -> Iterator[StoredObservation]:
        """The most recent ``limit`` observations (all with None), oldest first."""
        raise NotImplementedError

    def add_decision(self, decision: Decision) -> Decision:
        """Remember a decision; returned with its id."""
        raise NotImplementedError

    def decision(self, decision_id: int) -> Decision | None:
        """One decision; None where there is none of that id."""
        raise NotImplementedError

    def decisions(
        self,
        model: str | None = None,
        *,
        limit: int = 50,
        before_id: int | None = None,
        actions: AbstractSet[Action] | None = None,
    ) -> list[Decision]:
        """Decisions, newest first, of one model or of all; ``actions`` keeps only these."""
        raise NotImplementedError

    def state(self, model: str) -> StoredState | None:
        """What is remembered of a model; None when nothing is."""
        raise NotImplementedError

    def put_slo(self, model: str, slo: Slo) -> None:
        """Remember the objective."""
        raise NotImplementedError

    def put_mode(self, model: str, mode: Mode) -> None:
        """Remember the mode."""
        raise NotImplementedError

    def put_incumbent(self, model: str, config: ServingConfig, generation: int) -> None:
        """Remember what is in force."""
        raise NotImplementedError

    def put_last_known_good(self, model: str, config: ServingConfig) -> None:
        """Remember what last met the objective."""
        raise NotImplementedError

    def prune(self, model: str, *, keep_observations: int, keep_holds: int, keep_decisions: int = 10_000) -> int:
        """Delete a model's oldest observations, HOLD decisions and other decisions beyond these; how many went."""
        raise NotImplementedError
