"""Landscape: what every configuration of a lattice did under one load, as it was measured on a live server.

One Parquet file a landscape, one row a measurement; a configuration has one row or several. Histograms are lists of
counts whose bucket edges stand once, in the file's metadata, beside the data sheet. ``benchmarks/README.md`` describes
the columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.space import BATCHING_OFF, KNOB_NAMES, ConfigSpace, Knob

#: Upper edges of the latency buckets, seconds: 200 µs, each 4 % above the last, to 90 s.
LATENCY_BOUNDS = exponential_bounds(2e-4, 1.04, 332)
#: Key of the data sheet in the file's metadata.
_SHEET = b"regulus.landscape"

Kind = Literal["lattice", "refine", "repeat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One window of one configuration.

    Attributes:
        config: What was in force.
        kind: Why it was taken: ``lattice`` the first look at each configuration, ``refine`` a further and longer look
            at the better ones, ``repeat`` one of the repeats that tell the noise.
        started_at: Unix time, seconds.
        duration_seconds: How long requests were due that count.
        latency: Client-felt latency from the intended time of sending, seconds; :data:`LATENCY_BOUNDS`.
        arrivals: Requests due.
        succeeded: Requests answered OK.
        rejected: Requests refused because queues were full.
        failed: Requests that failed otherwise.
        batch_size: Executed batches by examples; None where batching is off.
        queueing: Seconds requests waited for their batch; None where batching is off.
        cpu_seconds: Processor time of the server's process.
        foreign_cpu_share: Share of the machine's processor time that went to neither server nor client.
    """

    config: ServingConfig
    kind: Kind
    started_at: float
    duration_seconds: float
    latency: Histogram
    arrivals: int
    succeeded: int
    rejected: int
    failed: int
    batch_size: Histogram | None
    queueing: Histogram | None
    cpu_seconds: float
    foreign_cpu_share: float


@dataclass(frozen=True, slots=True)
class Landscape:
    """All measurements under one load.

    Attributes:
        name: Its file's stem.
        sheet: The data sheet: ``model``, ``workload``, ``knobs`` (values by name), ``cpus``, machine, versions, noise.
        measurements: In the order in which they were taken.
    """

    name: str
    sheet: Mapping[str, Any]
    measurements: tuple[Measurement, ...]

    @property
    def workload(self) -> Workload:
        """The load that was offered."""
        return Workload.from_dict(self.sheet["workload"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.sheet["model"])

    @property
    def capacity_per_second(self) -> float:
        """Requests a second that the best configuration takes."""
        return float(self.sheet["capacity_per_second"])

    def noise(self, seconds: float) -> float:
        """Standard deviation of the logarithm of the tail of a window so long, round the configuration's own.

        Bursts average out over a longer window. The machine's drift over minutes is no part of it: it is the same for
        all configurations that are tried meanwhile.
        """
        found = self.sheet["estimate"]
        return float(found["window_sigma"] * np.sqrt(found["window_seconds"] / seconds))

    def tails(self) -> dict[ServingConfig, float]:
        """The estimated tail of each configuration, seconds; see ``benchmarks/record/estimate.py``."""
        return tails_of(self.space(), self.sheet["estimate"])

    def space(self) -> ConfigSpace:
        """The lattice that was measured."""
        return lattice_space(self.sheet["knobs"], float(self.sheet["cpus"]))

    def by_config(self) -> dict[ServingConfig, tuple[Measurement, ...]]:
        """The measurements of each configuration."""
        found: dict[ServingConfig, list[Measurement]] = {}
        for measurement in self.measurements:
            found.setdefault(measurement.config, []).append(measurement)
        return {config: tuple(several) for config, several in found.items()}


class Replay:
    """A landscape as policies meet it: windows drawn from what was measured, with its noise.

    Args:
        landscape: What was measured.
        window_seconds: Length of a window; it holds as many requests as a Poisson variable says.
    """

    def __init__(self, landscape: Landscape, window_seconds: float) -> None:
        self.landscape = landscape
        self.space = landscape.space()
        self.workload = landscape.workload
        self._window_seconds = window_seconds
        self._sigma = landscape.noise(window_seconds)
        estimated, percentile = landscape.tails(), float(landscape.sheet["estimate"]["percentile"])
        self._cells = {
            config: _Cell.of(several).with_tail(percentile, estimated[config])
            for config, several in landscape.by_config().items()
        }

    @cached_property
    def configs(self) -> tuple[ServingConfig, ...]:
        """Every configuration that was measured, in the order of the space."""
        return tuple(config for config in self.space if config in self._cells)

    def measured(self, config: ServingConfig) -> ServingConfig:
        """``config`` if it was measured, else the nearest configuration of the lattice."""
        return config if config in self._cells else self.space.config(self.space.nearest(config))

    def tail(self, config: ServingConfig, percentile: float) -> float:
        """The percentile under ``config``, lost requests counted as slowest; seconds. The truth that learners seek."""
        return self._cells[self.measured(config)].tail(percentile)

    def violation_ratio(self, config: ServingConfig, bound_seconds: float) -> float:
        """Share of requests slower than the bound, or lost."""
        return self._cells[self.measured(config)].violation_ratio(bound_seconds)

    def window(self, config: ServingConfig, rng: np.random.Generator, started_at: float = 0.0) -> Window:
        """One noisy window under ``config``."""
        cell = self._cells[self.measured(config)]
        arrivals = max(int(rng.poisson(self.workload.rate_per_second * self._window_seconds)), 1)
        factor = cell.scale * float(np.exp(self._sigma * rng.standard_normal()))
        latency = _stretched(_sample(cell.latency, round(arrivals * cell.success_ratio), rng), factor, rng)
        return Window(
            started_at=started_at,
            duration_seconds=self._window_seconds,
            latency=latency,
            workload=Workload(arrivals / self._window_seconds, self.workload.cv, self.workload.examples_per_request),
            succeeded=latency.count,
            rejected=round(arrivals * cell.rejected_ratio),
            failed=round(arrivals * cell.failed_ratio),
            batch_size=_thinned(cell.batch_size, self._window_seconds / cell.seconds, rng),
            queueing=_thinned(cell.queueing, self._window_seconds / cell.seconds, rng),
        )


@dataclass(frozen=True, slots=True)
class _Cell:
    """All measurements of one configuration, together; latencies are to be multiplied by ``scale``."""

    latency: Histogram
    seconds: float
    success_ratio: float
    rejected_ratio: float
    failed_ratio: float
    batch_size: Histogram | None
    queueing: Histogram | None
    scale: float = 1.0

    @classmethod
    def of(cls, several: Sequence[Measurement]) -> _Cell:
        total = max(sum(m.succeeded + m.rejected + m.failed for m in several), 1)
        return cls(
            latency=_merged([m.latency for m in several]),
            seconds=sum(m.duration_seconds for m in several),
            success_ratio=sum(m.succeeded for m in several) / total,
            rejected_ratio=sum(m.rejected for m in several) / total,
            failed_ratio=sum(m.failed for m in several) / total,
            batch_size=_merged_or_none([m.batch_size for m in several]),
            queueing=_merged_or_none([m.queueing for m in several]),
        )

    def with_tail(self, percentile: float, seconds: float) -> _Cell:
        """Scaled so that the percentile is this."""
        return replace(self, scale=seconds / replace(self, scale=1.0).tail(percentile))

    def tail(self, percentile: float) -> float:
        reached = percentile / self.success_ratio if self.success_ratio else 2.0
        return self.scale * (self.latency.quantile(reached) if reached < 1 else self.latency.bounds[-1])

    def violation_ratio(self, bound_seconds: float) -> float:
        return 1 - self.success_ratio * self.latency.fraction_within(bound_seconds / self.scale)


def tails_of(space: ConfigSpace, estimate: Mapping[str, Any]) -> dict[ServingConfig, float]:
    """Seconds by configuration, from what ``benchmarks/record/estimate.py`` found."""
    pairs = zip(space, estimate["log_tails"], strict=True)
    return {config: float(np.exp(value)) for config, value in pairs if value is not None}


def lattice_space(knobs: Mapping[str, Sequence[int]], cpus: float) -> ConfigSpace:
    """The space of a data sheet's ``knobs``; ``max_batch_size`` 0 stands for batching off."""
    return ConfigSpace([Knob(name, tuple(values)) for name, values in knobs.items()], cpus=cpus)


def _merged(histograms: Sequence[Histogram]) -> Histogram:
    counts = np.sum([h.counts for h in histograms], axis=0)
    return Histogram(histograms[0].bounds, tuple(counts.tolist()), sum(h.total for h in histograms))


def _merged_or_none(histograms: Sequence[Histogram | None]) -> Histogram | None:
    present = [h for h in histograms if h is not None]
    return _merged(present) if present else None


def _sample(histogram: Histogram, count: int, rng: np.random.Generator) -> Histogram:
    counts = np.asarray(histogram.counts, dtype=float)
    if not counts.sum() or count <= 0:
        return Histogram.empty(histogram.bounds)
    drawn = rng.multinomial(count, counts / counts.sum())
    return Histogram(histogram.bounds, tuple(drawn.tolist()), histogram.total * count / counts.sum())


def _stretched(histogram: Histogram, factor: float, rng: np.random.Generator) -> Histogram:
    """All values times ``factor``: counts move by whole buckets, rounded up or down at random."""
    steps = np.log(factor) / np.log(histogram.bounds[1] / histogram.bounds[0])
    shift = int(np.floor(steps + rng.random()))
    counts = np.asarray(histogram.counts)
    moved = np.zeros_like(counts)
    index = np.clip(np.arange(len(counts)) + shift, 0, len(counts) - 1)
    np.add.at(moved, index, counts)
    return Histogram(histogram.bounds, tuple(moved.tolist()), histogram.total * factor)


def _thinned(histogram: Histogram | None, share: float, rng: np.random.Generator) -> Histogram | None:
    if histogram is None or not histogram.count:
        return None
    count = max(round(histogram.count * share), 1)
    return _sample(histogram, count, rng)


# Files


def save(landscape: Landscape, path: Path) -> None:
    """Write a landscape; the file appears whole or not at all."""
    histograms: dict[str, tuple[float, ...]] = {}
    columns: dict[str, list[Any]] = {}
    for measurement in landscape.measurements:
        for name, value in _flat(measurement).items():
            if isinstance(value, Histogram):
                histograms.setdefault(name, value.bounds)
                columns.setdefault(f"{name}_total", []).append(value.total)
                value = list(value.counts)
            elif name in ("batch_size", "queueing"):
                columns.setdefault(f"{name}_total", []).append(None)
            columns.setdefault(name, []).append(value)
    meta = {"name": landscape.name, "sheet": landscape.sheet, "bounds": histograms}
    table = pa.table(columns).replace_schema_metadata({_SHEET: json.dumps(meta).encode()})
    scratch = path.with_suffix(".parquet.new")
    pq.write_table(table, scratch, compression="zstd", compression_level=19)
    scratch.replace(path)


def load(path: Path) -> Landscape:
    """Read what :func:`save` wrote.

    Raises:
        InvalidValueError: The file is no landscape.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidValueError("landscape", f"{path} cannot be read: {error}") from error
    raw = (table.schema.metadata or {}).get(_SHEET)
    if raw is None:
        raise InvalidValueError(
            "landscape", f"{path} is Parquet but holds no landscape; `regulus bench record` makes them"
        )
    meta = json.loads(raw)
    bounds = {name: tuple(edges) for name, edges in meta["bounds"].items()}
    return Landscape(meta["name"], meta["sheet"], tuple(_measurement(row, bounds) for row in table.to_pylist()))


def load_all(folder: Path) -> dict[str, Landscape]:
    """Every landscape of a folder by its name, in order.

    Raises:
        InvalidValueError: There is none.
    """
    found = [load(path) for path in sorted(folder.glob("*.parquet"))]
    if not found:
        raise InvalidValueError("landscapes", f"no *.parquet in {folder}; `regulus bench record` makes them")
    return {one.name: one for one in found}


def _flat(measurement: Measurement) -> dict[str, Any]:
    config = measurement.config
    row: dict[str, Any] = {name: getattr(config, name) for name in KNOB_NAMES}
    row["max_batch_size"] = config.max_batch_size if config.enable_batching else BATCHING_OFF
    row["max_enqueued_batches"] = config.max_enqueued_batches
    return row | {f.name: getattr(measurement, f.name) for f in fields(Measurement) if f.name != "config"}


def _measurement(row: Mapping[str, Any], bounds: Mapping[str, tuple[float, ...]]) -> Measurement:
    knobs = {name: row[name] for name in (*KNOB_NAMES, "max_enqueued_batches")}
    enabled = knobs["max_batch_size"] != BATCHING_OFF
    config = ServingConfig(enable_batching=True, **knobs) if enabled else ServingConfig(**knobs | {"max_batch_size": 1})
    values = {f.name: row[f.name] for f in fields(Measurement) if f.name != "config"}
    for name, edges in bounds.items():
        if values[name] is not None:
            values[name] = Histogram(edges, tuple(values[name]), row[f"{name}_total"])
    return Measurement(config=config, **values)


def merged_tails(measurements: Sequence[Measurement], *, percentile: float) -> dict[ServingConfig, float]:
    """The percentile of each configuration over all its measurements, lost requests counted as slowest; seconds."""
    found: dict[ServingConfig, list[Measurement]] = {}
    for measurement in measurements:
        found.setdefault(measurement.config, []).append(measurement)
    return {config: _Cell.of(several).tail(percentile) for config, several in found.items()}


def tails(replay: Replay, percentile: float) -> NDArray[np.float64]:
    """The tail of each of ``replay.configs``, seconds, shape (n,)."""
    return np.array([replay.tail(config, percentile) for config in replay.configs])
