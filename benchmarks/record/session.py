"""A recording from beginning to end: the server, the load, every measurement, the data sheet, the file."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.landscape import Landscape, Measurement, load, save
from benchmarks.open_loop import MAX_IN_FLIGHT
from benchmarks.processes import export
from benchmarks.progress import Progress
from benchmarks.record.capacity import capacity
from benchmarks.record.estimate import estimate
from benchmarks.record.journal import Journal
from benchmarks.record.lattice import recording_space
from benchmarks.record.measure import ATTEMPTS, LEAD_SECONDS, Meter, own_pids
from benchmarks.record.noise import spread_of
from benchmarks.record.plan import PASSES, REPEATS, Visit, next_stage
from benchmarks.record.quiet import CpuMeter
from benchmarks.report import machine
from benchmarks.servers import Node, embedded
from service.domain.clock import Clock, SystemClock
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.space import ConfigSpace
from service.loadgen.payloads import RequestSpec
from service.loadgen.prepare import prepared
from service.loadgen.target import parse_target
from service.telemetry.scraper import DEFAULT_METRICS_PATH, Scraper

#: The percentile by which configurations are ranked and the noise is told.
PERCENTILE = 0.99
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is recorded.

    Attributes:
        model: Of the zoo.
        load: Offered rate as a share of the capacity of the best configuration.
        rate: Offered rate in requests a second in place of ``load``.
        cv: Coefficient of variation of the gaps between requests.
        seconds: Length of a window of the first stage.
        configs: Configurations at most, drawn at random; 0 for the whole lattice.
        passes: Windows of each configuration in the first stage.
        refine: Whether the better ones are measured again.
        repeats: Windows of each configuration that is repeated to tell the noise.
        look_seconds: For the capacity of each likely configuration.
        attempts: Windows of one measurement at most, where others disturb them.
        out: Folder of the landscape and of its journal.
        name: Stem of the files; by default ``MODEL-LOAD``.
        models_dir: Folder of exported models; what is missing is exported there.
        seed: Of arrivals and order.
    """

    model: str
    load: float
    rate: float | None
    cv: float
    seconds: float
    configs: int
    passes: int
    refine: bool
    repeats: int
    look_seconds: float
    attempts: int
    out: Path
    name: str | None
    models_dir: Path
    seed: int

    @property
    def stem(self) -> str:
        """Stem of the files."""
        if self.name:
            return self.name
        return f"{self.model}-{self.rate:.0f}rps" if self.rate else f"{self.model}-{self.load * 100:.0f}"


async def record(options: Options, scratch: Path, clock: Clock | None = None) -> Path:
    """Record a landscape; what an earlier run measured is kept and not measured again.

    A landscape that is complete is measured further where the options ask for more than it holds.

    Args:
        options: What to record.
        scratch: Folder for logs.
        clock: Dates measurements.

    Returns:
        The Parquet file; the data sheet lies beside it.

    Raises:
        InvalidValueError: The journal of an earlier run is of another recording.
    """
    path = options.out / f"{options.stem}.parquet"
    with contextlib.closing(Journal(options.out / f"{options.stem}.partial.jsonl")) as journal:
        if journal.header is None and path.exists():
            journal.go_on_from(load(path))
        described = machine()
        space = recording_space(int(described["cpus"]))
        await export(options.model, options.models_dir, scratch)
        async with embedded(options.model, options.models_dir, scratch) as node:
            if journal.header is None:
                journal.begin(await _header(options, node, space, described))
            elif journal.header["model"] != options.model:
                raise InvalidValueError("name", f"{options.stem} was begun with another model; name this with --name")
            sheet = journal.header or {}
            workload = Workload.from_dict(sheet["workload"])
            await _measure_all(options, node, space, workload, journal, clock or SystemClock())
        found = findings(space, journal.measurements, options.seed)
        save(Landscape(options.stem, sheet | found, tuple(journal.measurements)), path)
        journal.remove()
    return path


async def _header(options: Options, node: Node, space: ConfigSpace, described: dict[str, Any]) -> dict[str, Any]:
    capacity_per_second = await capacity(options.model, node, int(space.cpus), options.look_seconds)
    workload = Workload(options.rate or options.load * capacity_per_second, options.cv)
    return {
        "model": options.model,
        "workload": workload.to_dict(),
        "load": round(workload.rate_per_second / capacity_per_second, 3),
        "capacity_per_second": round(capacity_per_second, 1),
        "cpus": space.cpus,
        "knobs": {knob.name: list(knob.values) for knob in space.knobs},
        "window_seconds": options.seconds,
        "lead_seconds": LEAD_SECONDS,
        "seed": options.seed,
        "machine": described,
        "versions": {name: version(name) for name in ("regulus-serving", "tensorflow", "grpcio", "numpy")},
        "started_at": time.time(),
    }


async def _measure_all(
    options: Options, node: Node, space: ConfigSpace, workload: Workload, journal: Journal, clock: Clock
) -> None:
    rng = np.random.default_rng([options.seed, len(journal.measurements)])
    lattice = list(space)
    if 0 < options.configs < len(lattice):
        chosen = np.random.default_rng(options.seed).permutation(len(lattice))[: options.configs]
        lattice = [lattice[i] for i in sorted(chosen)]
    ready = prepared(
        parse_target(node.grpc),
        RequestSpec(model=options.model),
        rng,
        timeout=_TIMEOUT_SECONDS,
        connections=4,
        max_inflight=MAX_IN_FLIGHT,
    )
    async with ready as (transport, pool), httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        meter = Meter(
            node=node,
            transport=transport,
            pool=pool,
            workload=workload,
            scraper=Scraper(f"{node.rest}{DEFAULT_METRICS_PATH}", options.model, client, clock, timeout_seconds=20.0),
            cpu=CpuMeter(own_pids(node), int(space.cpus)),
            clock=clock,
            seed=options.seed,
            attempts=options.attempts,
        )
        # What exists by now is no garbage; the collector need not walk it while latencies are measured.
        gc.collect()
        gc.freeze()

        def visits() -> list[Visit]:
            return next_stage(
                lattice,
                journal.measurements,
                rng,
                passes=options.passes,
                refine=options.refine,
                repeats=options.repeats,
            )

        while stage := visits():
            await _stage(meter, stage, options, journal)


async def _stage(meter: Meter, visits: Sequence[Visit], options: Options, journal: Journal) -> None:
    progress = Progress(len(visits))
    for visit in visits:
        progress.begin(f"{options.stem}, {visit.kind}: {visit.config.describe()}")
        look = sum(m.config == visit.config for m in journal.measurements)
        journal.add(await meter.measure(visit.config, visit.length * options.seconds, visit.kind, look))
        progress.done()
    progress.close()


def findings(space: ConfigSpace, measurements: Sequence[Measurement], seed: int) -> dict[str, Any]:
    """What is known once everything was measured."""
    rng = np.random.default_rng(seed)
    repeats = [_several([m for m in measurements if m.kind == kind]) for kind in ("lattice", "repeat")]
    return {
        "estimate": estimate(space, measurements, PERCENTILE),
        "noise": [spread_of(windows, PERCENTILE, rng) for windows in repeats if windows],
        "measurements": len(measurements),
        "measured_seconds": round(sum(m.duration_seconds for m in measurements), 1),
        "ended_at": time.time(),
    }


def _several(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """The windows of each configuration that has more than one."""
    found: dict[ServingConfig, list[Measurement]] = {}
    for m in measurements:
        if m.latency.count:
            found.setdefault(m.config, []).append(m)
    return [several for several in found.values() if len(several) > 1]


__all__ = ["ATTEMPTS", "PASSES", "PERCENTILE", "REPEATS", "Options", "record"]
