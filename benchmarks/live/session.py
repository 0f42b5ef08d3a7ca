"""Session: a comparison from beginning to end: the server, its capacity, the objectives, every run, the file."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.live.load import Arrivals, arrivals, hardest
from benchmarks.live.outcome import MAX_IN_FLIGHT, TIMEOUT_SECONDS, row
from benchmarks.live.pilot import pilot
from benchmarks.live.plan import QUIET_SHARE, SLACK, TRACE, Cell, Turn, bound_of, turns
from benchmarks.live.results import Results, Row
from benchmarks.live.task import Task
from benchmarks.processes import export
from benchmarks.progress import Progress
from benchmarks.record.capacity import capacity, likely
from benchmarks.record.quiet import CpuMeter
from benchmarks.report import machine
from benchmarks.servers import Node
from service.backends.agent_backend import AgentBackend
from service.backends.protocol import BackendPhase
from service.cli.demo.ports import Ports, claim
from service.cli.demo.stack import model_server
from service.domain.clock import Clock, SystemClock
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.loadgen.payloads import RequestSpec
from service.loadgen.plan import LoadPlan
from service.loadgen.report import LoadReport
from service.loadgen.runner import run_load
from service.loadgen.traces import Trace
from service.telemetry.scraper import DEFAULT_METRICS_PATH

#: Seed of the arrivals of looks, as the number of a repeat that does not take place.
_LOOK = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is compared.

    Attributes:
        model: Of the zoo.
        policies: Who steers.
        cells: Under which loads.
        repeats: How often.
        seconds: Length of a run.
        look_seconds: Length of a look at a configuration, for the objective and for the capacity.
        patience_seconds: Longest wait for a quiet machine before a run.
        attempts: How often a run is made, at most, until others leave it in peace.
        window_seconds: Shortest window that is judged, a certain violation aside.
        trace: Recorded arrivals; None without a cell of them.
        bound_seconds: Bound of the objective in every cell; None to find it.
        out: File of the results.
        models_dir: Folder of exported models; what is missing is exported there.
        seed: Of arrivals, orders and policies.
    """

    model: str
    policies: tuple[str, ...]
    cells: tuple[Cell, ...]
    repeats: int
    seconds: float
    look_seconds: float
    patience_seconds: float
    attempts: int
    window_seconds: float
    trace: Trace | None
    bound_seconds: float | None
    out: Path
    models_dir: Path
    seed: int

    @property
    def loop(self) -> dict[str, float]:
        """Settings of the loop that differ from the service's: a run lasts a minute, so windows are shorter."""
        return {
            "window_seconds": self.window_seconds,
            "early_window_seconds": 0.6 * self.window_seconds,
            "certainty_seconds": self.window_seconds,
            "min_requests": 240,
            "blanking_seconds": 0.5,
        }

    @property
    def compared(self) -> dict[str, Any]:
        """What must be the same for runs to be compared."""
        return {"model": self.model, "seconds": self.seconds, "seed": self.seed, "loop": self.loop}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """The server that is steered; ``agent`` and ``metrics`` are URLs."""

    node: Node
    agent: str
    metrics: str
    cpus: int


def left_to_do(options: Options, results: Results) -> list[Turn]:
    """The turns that were not taken yet, in order.

    Raises:
        InvalidValueError: The results are of another comparison, or a cell needs a trace and there is none.
    """
    for cell in options.cells:
        if cell.schedule == TRACE and options.trace is None:
            raise InvalidValueError("trace", f"{cell.key} replays recorded arrivals: name a CSV file with --trace")
    header = results.header
    if header is not None:
        wanted = dict(options.compared)
        if any(cell.schedule == TRACE for cell in options.cells):
            wanted["trace"] = options.trace.name if options.trace else None
        differing = [name for name, value in wanted.items() if header[name] != value]
        if differing:
            raise InvalidValueError(
                "out", f"its results were begun with other values of {', '.join(differing)}; name another file"
            )
    planned = turns(options.cells, options.policies, options.repeats, options.seed)
    return [turn for turn in planned if not results.has(turn)]


async def run(options: Options, results: Results, scratch: Path, clock: Clock | None = None) -> None:
    """Take every turn that was not taken yet; each is kept as soon as it is over.

    Args:
        options: What to compare.
        results: Where it is kept.
        scratch: Folder for logs.
        clock: Time.

    Raises:
        InvalidValueError: See :func:`left_to_do`.
        ChildFailedError: The server or a steering process failed.
        BackendError: The server did not take its default configuration back.
    """
    todo = left_to_do(options, results)
    if not todo:
        return
    clock = clock or SystemClock()
    described = machine()
    await export(options.model, options.models_dir, scratch)
    async with _served(options, scratch, int(described["cpus"])) as server:
        if results.header is None:
            found = await capacity(options.model, server.node, server.cpus, options.look_seconds)
            results.begin(_header(options, described, found))
        progress = Progress(len(todo))
        for turn in todo:
            slo = Slo(await _bound(options, server, turn.cell, results, progress))
            progress.begin(f"repeat {turn.repeat + 1}, {turn.cell.key}, {slo.describe()}: {turn.policy}")
            results.add(turn, await _take(options, server, turn, slo, _capacity(results), scratch, clock))
            progress.done()
        progress.close()


def _header(options: Options, described: Row, found: float) -> dict[str, Any]:
    return {
        **options.compared,
        "capacity_per_second": round(found, 1),
        "trace": options.trace.name if options.trace else None,
        "slack": SLACK,
        "attempts": options.attempts,
        "timeout_seconds": TIMEOUT_SECONDS,
        "max_in_flight": MAX_IN_FLIGHT,
        "machine": described,
        "versions": {name: version(name) for name in ("regulus-serving", "tensorflow", "grpcio", "numpy")},
        "started_at": time.time(),
    }


def _capacity(results: Results) -> float:
    return float((results.header or {})["capacity_per_second"])


@asynccontextmanager
async def _served(options: Options, scratch: Path, cpus: int) -> AsyncIterator[_Server]:
    async with model_server(options.model, options.models_dir, claim(Ports(0, 0, 0, 0)), scratch) as stack:
        agent, rest = (f"http://127.0.0.1:{port}" for port in (stack.ports.agent, stack.ports.rest))
        backend = AgentBackend(agent, stack.client)
        node = Node(grpc=stack.target, rest=rest, backend=backend, pid=stack.server.process.pid)
        yield _Server(node=node, agent=agent, metrics=f"{rest}{DEFAULT_METRICS_PATH}", cpus=cpus)


async def _bound(options: Options, server: _Server, cell: Cell, results: Results, progress: Progress) -> float:
    """The bound of a cell's objective, the same for every policy and repeat."""
    if cell.key in results.bounds:
        return results.bounds[cell.key]
    if options.bound_seconds is not None:
        results.bound(cell, options.bound_seconds, {})
        return options.bound_seconds
    sent = hardest(cell, _capacity(results), options.look_seconds, cell.rng(options.seed, _LOOK), options.trace)
    looks: dict[str, float] = {}
    for config in likely(server.cpus):
        progress.say(f"a look at {config.describe()} under {cell.key}, for its objective")
        await server.node.put(config)
        report = await _send(options, server, sent, None)
        looks[config.describe()] = round(tail_of(report), 5)
    bound = bound_of(list(looks.values()))
    results.bound(cell, bound, looks)
    return bound


def tail_of(report: LoadReport) -> float:
    """The p99 of a look, lost requests at the time-out."""
    return report.latency.summary().p99 if report.ok >= 0.99 * report.scheduled else TIMEOUT_SECONDS


async def _take(
    options: Options, server: _Server, turn: Turn, slo: Slo, best: float, scratch: Path, clock: Clock
) -> dict[str, Any]:
    """A turn: a run that was left in peace, or the quietest of several; ``best`` is the capacity."""
    made: list[dict[str, Any]] = []
    while len(made) < options.attempts:
        made.append(await _run_once(options, server, turn, slo, best, scratch, clock))
        if made[-1]["foreign_cpu_share"] <= QUIET_SHARE:
            break
    return {**min(made, key=lambda one: float(one["foreign_cpu_share"])), "attempts": len(made)}


async def _run_once(
    options: Options, server: _Server, turn: Turn, slo: Slo, best: float, scratch: Path, clock: Clock
) -> dict[str, Any]:
    """From the default configuration, with a policy that knows nothing."""
    await _back_to_default(server, clock)
    task = Task(
        policy=turn.policy,
        seed=options.seed + turn.repeat,
        model=options.model,
        agent=server.agent,
        metrics=server.metrics,
        slo=slo.to_dict(),
        loop=options.loop,
        seconds=options.seconds,
        log=str(scratch / "steered.json"),
    )
    sent = arrivals(turn.cell, best, options.seconds, turn.cell.rng(options.seed, turn.repeat), options.trace)
    async with pilot(task, scratch / "steering.log") as one:
        quiet = await CpuMeter((), server.cpus).wait_quiet(clock, QUIET_SHARE, options.patience_seconds)
        cpu = CpuMeter((server.node.pid, os.getpid(), one.pid), server.cpus)
        before, started = cpu.read(), clock.monotonic()
        one.begin()
        report = await _send(options, server, sent, slo)
        one.check_alive()
        after, took = cpu.read(), clock.monotonic() - started
        steered = await one.end()
    return {
        **row(report, steered, slo),
        "quiet_before": quiet,
        "foreign_cpu_share": round(cpu.foreign_share(before, after, took), 4),
        "server_cpu_seconds": round(after.own[0] - before.own[0], 2),
        "steering_cpu_seconds": round(after.own[2] - before.own[2], 2),
    }


async def _send(options: Options, server: _Server, sent: Arrivals, slo: Slo | None) -> LoadReport:
    plan = LoadPlan(
        source=sent,
        seed=options.seed,
        timeout=TIMEOUT_SECONDS,
        max_inflight=MAX_IN_FLIGHT,
        slo_seconds=slo.bound_seconds if slo else None,
    )
    return await run_load(server.node.grpc, plan, RequestSpec(model=options.model))


async def _back_to_default(server: _Server, clock: Clock) -> None:
    """Put TensorFlow Serving's default in force; a change that the last policy began is waited for."""
    while (await server.node.backend.read()).phase is not BackendPhase.SERVING:
        await clock.sleep(0.1)
    await server.node.put(ServingConfig())
