"""A replayed model server that is steered in time: its metrics grow as requests come, and a switch takes its time.

What each configuration does comes from a recorded landscape. The machine's noise is drawn for stretches of
:data:`SLOT_SECONDS`, from the seed and the stretch alone, as a replayed window's is: whoever steers meets the same.
A switch is as the embedded server's were measured (docs/performance.md): what changes batching alone is hardly felt,
what needs new sessions takes a second, in which the old configuration goes on serving, at three times its latency.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.landscape import LATENCY_BOUNDS, merged_tails
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import WINDOW_SECONDS, Terrain
from service.backends.protocol import BackendPhase, BackendState, Support
from service.domain.clock import Clock
from service.domain.errors import StaleGenerationError
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.telemetry.reading import Interarrivals, Reading
from service.telemetry.scraper import Scraper

#: One window of a schedule, and one draw of the noise, seconds.
SLOT_SECONDS = WINDOW_SECONDS
#: A switch, in seconds: of batching alone, and of what needs new sessions; the latter multiplies latencies meanwhile.
BATCHING_SWITCH_SECONDS = 0.01
SESSION_SWITCH_SECONDS = 1.0
SESSION_SWITCH_SLOWDOWN = 3.0

#: What the metrics page shows: every other edge of what was recorded, about as fine as the embedded server's own.
BOUNDS = LATENCY_BOUNDS[1::2]
_MERGED = tuple(range(0, len(LATENCY_BOUNDS) + 1, 2))
#: Width of a recorded bucket, as a logarithm.
_STEP = math.log(LATENCY_BOUNDS[1] / LATENCY_BOUNDS[0])
_MIDDLES = np.sqrt(np.array([BOUNDS[0] / 2, *BOUNDS[:-1], BOUNDS[-1]]) * np.array([*BOUNDS, BOUNDS[-1]]))
_STATUSES = ("OK", "UNAVAILABLE", "INTERNAL")
_EPSILON = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Time in which nothing changed.

    Attributes:
        slot: Index in the schedule.
        seconds: How long.
        config: Index of the configuration that served, in the terrain's order.
        requests: That came.
        broken: How many of them broke the bound or were lost; a bucket that holds the bound counts in part.
        spoilt: Whether a switch kept the tail above the bound.
    """

    slot: int
    seconds: float
    config: int
    requests: int
    broken: float
    spoilt: bool


@dataclass(frozen=True, slots=True)
class _Cell:
    """What one configuration does under one load.

    ``latency``: shares of the requests by recorded bucket; ``fates``: of answered, refused, failed; ``batches`` and
    ``queueing``: counts a second, None where batching is off; ``scale``: what latencies are to be multiplied by.
    """

    latency: Floats
    fates: Floats
    batches: Histogram | None
    queueing: Histogram | None
    seconds: float
    scale: float


class _Load:
    """A terrain's cells, made when they are first needed."""

    def __init__(self, terrain: Terrain) -> None:
        self.terrain = terrain
        self._measured = terrain.landscape.by_config()
        self._cells: dict[int, _Cell] = {}

    def cell(self, index: int) -> _Cell:
        if index not in self._cells:
            self._cells[index] = self._make(index)
        return self._cells[index]

    def _make(self, index: int) -> _Cell:
        config = self.terrain.configs[index]
        several = self._measured[config]
        percentile = float(self.terrain.landscape.sheet["estimate"]["percentile"])
        counts = np.sum([one.latency.counts for one in several], axis=0).astype(np.float64)
        fates = np.array([sum(getattr(one, fate) for one in several) for fate in ("succeeded", "rejected", "failed")])
        queues = [one.queueing for one in several if one.queueing is not None]
        batches = [one.batch_size for one in several if one.batch_size is not None]
        return _Cell(
            latency=counts / counts.sum(),
            fates=fates / fates.sum(),
            batches=_together(batches),
            queueing=_together(queues),
            seconds=sum(one.duration_seconds for one in several),
            scale=float(self.terrain.tails[index]) / merged_tails(several, percentile=percentile)[config],
        )


class ReplayedServer:
    """The server of one run.

    Args:
        scenario: The load of each slot; the last goes on for ever.
        known: Its landscapes.
        slo: What counts as broken.
        seed: Of noise and arrivals.
        clock: Time.
    """

    def __init__(self, scenario: Scenario, known: Mapping[str, Terrain], slo: Slo, seed: int, clock: Clock) -> None:
        self._schedule = scenario.schedule
        self._seed = [seed, zlib.crc32(scenario.name.encode())]
        self._loads = {name: _Load(known[name]) for name in scenario.landscapes}
        self._slo = slo
        self._clock = clock
        self._seen = clock.monotonic()
        self._slot = -1
        self._slowdown = 1.0
        self._beyond = _share_beyond(slo.bound_seconds)
        self._counts = np.zeros(len(BOUNDS) + 1, dtype=np.int64)
        self._fates = np.zeros(len(_STATUSES), dtype=np.int64)
        self._gaps = Interarrivals(0, 0.0, 0.0)
        self._batches: Histogram | None = None
        self._queueing: Histogram | None = None
        self.terrain = known[scenario.schedule[0]]
        self.place = {config: index for index, config in enumerate(self.terrain.configs)}
        self.config = self.terrain.configs[self.terrain.start]
        self.generation = 0
        self.switches = 0
        self.history: list[Stretch] = []
        """All that has been, in order."""

    def reading(self) -> Reading:
        """What the metrics page shows now."""
        self.let_requests_come()
        latency = Histogram(BOUNDS, tuple(self._counts.tolist()), float(self._counts @ _MIDDLES))
        return Reading(
            monotonic=self._clock.monotonic(),
            time=self._clock.time(),
            model=self.terrain.landscape.model,
            latency=latency,
            requests=dict(zip(_STATUSES, self._fates.tolist(), strict=True)),
            batch_size=self._batches,
            queueing=self._queueing,
            interarrivals=self._gaps,
            generation=self.generation,
        )

    async def switch(self, config: ServingConfig, generation: int) -> None:
        """Put a measured configuration in force; returns when requests are served by it."""
        self.let_requests_come()
        sessions = _sessions(config) != _sessions(self.config)
        self._slowdown = SESSION_SWITCH_SLOWDOWN if sessions else 1.0
        await self._clock.sleep(SESSION_SWITCH_SECONDS if sessions else BATCHING_SWITCH_SECONDS)
        self.let_requests_come()
        self._slowdown = 1.0
        self.switches += config != self.config
        self.config, self.generation = config, generation

    def let_requests_come(self) -> None:
        """Catch up with the clock."""
        now = self._clock.monotonic()
        while self._seen < now - _EPSILON:
            slot = int(self._seen / SLOT_SECONDS + _EPSILON)
            end = min(now, (slot + 1) * SLOT_SECONDS)
            self._serve(slot, end - self._seen)
            self._seen = end

    def _serve(self, slot: int, seconds: float) -> None:
        load = self._loads[self._schedule[min(slot, len(self._schedule) - 1)]]
        if slot != self._slot:
            self._begin(slot, load)
        index = self.place[self.config]
        cell, workload = load.cell(index), load.terrain.landscape.workload
        fates = self._rng.multinomial(self._rng.poisson(workload.rate_per_second * seconds), cell.fates)
        requests, answered = int(fates.sum()), int(fates[0])
        factor = math.log(cell.scale * self._slowdown) + self._noise
        shares = _shifted(cell.latency, math.floor(factor / _STEP + self._rounding))
        counts = self._rng.multinomial(answered, shares)
        self._counts += counts
        self._fates += fates
        mean_gap = 1 / workload.rate_per_second
        squares = requests * mean_gap**2 * (workload.cv**2 + 1)
        before = self._gaps
        self._gaps = Interarrivals(
            before.count + requests, before.total + requests * mean_gap, before.total_of_squares + squares
        )
        share = seconds / cell.seconds
        self._batches = _grown(self._batches, cell.batches, share, self._rng)
        self._queueing = _grown(self._queueing, cell.queueing, share, self._rng)
        tail = float(load.terrain.tails[index]) * self._slowdown
        self.history.append(
            Stretch(
                slot=slot,
                seconds=seconds,
                config=index,
                requests=requests,
                broken=float(counts @ self._beyond) + requests - answered,
                spoilt=self._slowdown > 1 and tail > self._slo.bound_seconds,
            )
        )

    def _begin(self, slot: int, load: _Load) -> None:
        self._slot = slot
        name = load.terrain.landscape.name
        drawn = np.random.default_rng([*self._seed, zlib.crc32(name.encode()), slot])
        self._noise = load.terrain.landscape.noise(SLOT_SECONDS) * float(drawn.standard_normal())
        self._rounding = float(drawn.random())
        self._rng = drawn


class ReplayedMetrics(Scraper):
    """The server's metrics, without a page in between."""

    def __init__(self, server: ReplayedServer) -> None:
        self._server = server

    async def read(self) -> Reading:
        """One reading."""
        return self._server.reading()


class ReplayedBackend:
    """The server's agent. What was not measured becomes the nearest that was, and the answer says so."""

    def __init__(self, server: ReplayedServer) -> None:
        self._server = server
        knobs = {knob.name: (knob.values[0], knob.values[-1]) for knob in server.terrain.space.knobs}
        self._support = Support(bounds=knobs, cpus=server.terrain.space.cpus)

    async def read(self) -> BackendState:
        """What is in force."""
        return BackendState(
            config=self._server.config,
            generation=self._server.generation,
            phase=BackendPhase.SERVING,
            support=self._support,
            server_kind="replayed",
        )

    async def apply(self, config: ServingConfig, generation: int) -> BackendState:
        """Put a configuration, or the nearest measured, in force.

        Raises:
            StaleGenerationError: ``generation`` is not newer.
        """
        if generation <= self._server.generation:
            raise StaleGenerationError(generation, self._server.generation)
        await self._server.switch(self._server.terrain.replay.measured(config), generation)
        return await self.read()

    async def close(self) -> None:
        """Nothing is held."""


def _sessions(config: ServingConfig) -> tuple[int, int, int]:
    """The knobs whose change needs new sessions."""
    return (
        config.tensorflow_inter_op_parallelism,
        config.tensorflow_intra_op_parallelism,
        config.instances,
    )


def _shifted(shares: Floats, steps: int) -> Floats:
    """Shares by recorded bucket, moved up by whole buckets, as shares by shown bucket."""
    moved = np.zeros_like(shares)
    np.add.at(moved, np.clip(np.arange(len(shares)) + steps, 0, len(shares) - 1), shares)
    found: Floats = np.add.reduceat(moved, _MERGED)
    return found


def _share_beyond(bound_seconds: float) -> Floats:
    """Share of each shown bucket that lies beyond the bound, values spread evenly within it."""
    low, high = np.array([0.0, *BOUNDS]), np.array([*BOUNDS, math.inf])
    found: Floats = 1 - np.clip((bound_seconds - low) / (high - low), 0.0, 1.0)
    return found


def _together(histograms: list[Histogram]) -> Histogram | None:
    if not histograms:
        return None
    counts = np.sum([one.counts for one in histograms], axis=0)
    return Histogram(histograms[0].bounds, tuple(counts.tolist()), sum(one.total for one in histograms))


def _grown(
    so_far: Histogram | None, measured: Histogram | None, share: float, rng: np.random.Generator
) -> Histogram | None:
    """A cumulative histogram after ``share`` of what was measured has happened once more."""
    if measured is None or not measured.count:
        return so_far
    counts = rng.poisson(np.asarray(measured.counts) * share)
    more = Histogram(measured.bounds, tuple(counts.tolist()), measured.mean * float(counts.sum()))
    return so_far.plus(more) if so_far else more
