"""Rows: what a row of a table means, and what to say of one that cannot be understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Row

from service.domain.decision import Decision, Mode
from service.domain.errors import StoreError
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.store import codec
from service.store.records import StoredObservation, StoredState
from service.store.tally import Tally

_Record = TypeVar("_Record")


def observation(row: Row[Any], database: str) -> StoredObservation:
    """A row of OBSERVATIONS.

    Args:
        row: With all columns.
        database: What errors call the database.

    Raises:
        StoreError: It is damaged, or was written by a newer Regulus.
    """

    def read() -> StoredObservation:
        workload, config, window = codec.observation_from_text(row.body, row.format)
        return StoredObservation(
            id=row.id, model=row.model, observed_at=row.observed_at, workload=workload, config=config, window=window
        )

    return _decoded(read, f"observation {row.id}", database)


def decision(row: Row[Any], database: str) -> Decision:
    """A row of DECISIONS; arguments and errors as of :func:`observation`."""
    return _decoded(lambda: codec.decision_from_text(row.body, row.format, row.id), f"decision {row.id}", database)


def state(row: Row[Any], database: str) -> StoredState:
    """A row of MODELS; arguments and errors as of :func:`observation`."""

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
            intent=None if row.intent is None else codec.decision_from_text(row.intent, row.format, None),
            guards=None if row.guards is None else codec.guards_from_text(row.guards, row.format),
            updated_at=row.updated_at,
        )

    return _decoded(read, f"the state of model {row.model!r}", database)


def tally(row: Row[Any], database: str) -> Tally:
    """A row of TALLIES; arguments and errors as of :func:`observation`."""

    def read() -> Tally:
        return Tally(
            hour=row.hour,
            windows=row.windows,
            began_at=row.began_at,
            ended_at=row.ended_at,
            requests=row.requests,
            lost=row.lost,
            latency=tuple(Histogram.from_dict(raw) for raw in codec.load(row.latency, row.format)["histograms"]),
        )

    return _decoded(read, f"the tally of hour {row.hour} of model {row.model!r}", database)


def _decoded(read: Callable[[], _Record], what: str, database: str) -> _Record:
    try:
        return read()
    except codec.NewerFormatError as error:
        raise StoreError(f"{what} in {database} {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{what} in {database} is damaged: {error!r}; restore a backup, or delete that row") from error
