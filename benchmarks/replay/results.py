"""Results: the runs of a benchmark in one compact Parquet file; everything reported is computed from it.

A row is a run. Metrics are not stored: they follow from the path and the landscapes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.replay.play import Run
from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram, exponential_bounds

#: Upper edges of the buckets for the time of a suggestion, seconds: 10 µs, each 15 % above the last, to 100 s.
SECONDS_BOUNDS = exponential_bounds(1e-5, 1.15, 116)
_META = b"regulus.replay"
_SCHEMA = pa.schema(
    {
        "policy": pa.dictionary(pa.int16(), pa.string()),
        "scenario": pa.dictionary(pa.int16(), pa.string()),
        "seed": pa.int32(),
        "path": pa.list_(pa.int16()),
        "choice": pa.list_(pa.int16()),
        "seconds": pa.list_(pa.int32()),
    }
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A run as it is kept: the times of its suggestions as a histogram (:data:`SECONDS_BOUNDS`)."""

    policy: str
    scenario: str
    seed: int
    path: NDArray[np.int16]
    choice: NDArray[np.int16]
    seconds: tuple[int, ...]

    @classmethod
    def of(cls, run: Run) -> Stored:
        """Keep what is needed."""
        counts = Histogram.of(run.seconds.tolist(), SECONDS_BOUNDS).counts
        return cls(run.policy, run.scenario, run.seed, run.path, run.choice, counts)


@dataclass(frozen=True, slots=True)
class Results:
    """What `regulus bench run` found.

    Attributes:
        meta: ``windows`` of a run, ``seeds``, ``landscapes`` (fingerprint by name), ``machine``, ``costs`` by policy.
        runs: All runs, in no particular order.
    """

    meta: Mapping[str, Any]
    runs: tuple[Stored, ...] = field(repr=False)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of those that took part, in order of appearance."""
        return tuple(dict.fromkeys(run.policy for run in self.runs))

    def of(self, scenario: str) -> dict[str, list[Stored]]:
        """The runs of a scenario by policy, each list in the order of seeds."""
        found: dict[str, list[Stored]] = {}
        for run in sorted((run for run in self.runs if run.scenario == scenario), key=lambda run: run.seed):
            found.setdefault(run.policy, []).append(run)
        return found


def save(results: Results, path: Path) -> None:
    """Write results; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = _table(results.runs).replace_schema_metadata({_META: json.dumps(results.meta, sort_keys=True).encode()})
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    pq.write_table(table, scratch, compression="zstd", compression_level=19)
    scratch.replace(path)


def load(path: Path) -> Results:
    """Read what :func:`save` wrote.

    Raises:
        InvalidValueError: There is no such file, or it holds something else.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidValueError("results", f"{path} cannot be read: {error}; `regulus bench run` makes it") from error
    raw = (table.schema.metadata or {}).get(_META)
    if raw is None:
        raise InvalidValueError("results", f"{path} is Parquet but holds no results; `regulus bench run` makes them")
    return Results(json.loads(raw), tuple(_runs(table)))


def in_order(runs: Iterable[Stored], policies: Sequence[str], scenarios: Sequence[str]) -> tuple[Stored, ...]:
    """The same runs in one order, whichever finished first."""
    place = {name: i for i, name in enumerate([*policies, *scenarios])}
    return tuple(sorted(runs, key=lambda run: (place[run.policy], place[run.scenario], run.seed)))


def _table(runs: Sequence[Stored]) -> pa.Table:
    columns = {name: [getattr(run, name) for run in runs] for name in _SCHEMA.names}
    arrays = [
        pa.array(columns[f.name]).cast(f.type) if not runs else pa.array(columns[f.name], f.type) for f in _SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _runs(table: pa.Table) -> Iterable[Stored]:
    for row in table.to_pylist():
        path, choice = (np.array(row[name], dtype=np.int16) for name in ("path", "choice"))
        yield Stored(row["policy"], row["scenario"], row["seed"], path, choice, tuple(row["seconds"]))
