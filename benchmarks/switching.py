"""What a change of configuration costs the clients, knob by knob, under open-loop load.

``python -m benchmarks.switching``; benchmarks/README.md explains what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks import kills
from benchmarks.capacity import capacities, slowest
from benchmarks.open_loop import MAX_IN_FLIGHT, OpenLoop, Requests
from benchmarks.processes import export
from benchmarks.progress import Progress
from benchmarks.report import machine, publish
from benchmarks.servers import Node, StartNode, batching_on, embedded, tensorflow_serving, tensorflow_serving_versions
from benchmarks.statistics import quantile
from benchmarks.summary import HEAVY_MODEL
from benchmarks.switches import KnobResult, Switch, by_knob, observe, side_by_side, table, targets, together
from benchmarks.tables import Table
from models.zoo import ZOO
from service.cli.demo.processes import ChildFailedError
from service.domain.errors import RegulusError
from service.domain.serving_config import ServingConfig
from service.loadgen.payloads import RequestSpec
from service.loadgen.prepare import prepared
from service.loadgen.target import parse_target
from service.loadgen.transport import Transport

#: Share of the slowest configuration's capacity that is offered: while a node of processes switches, the start of new
#: ones takes the other half, or nearly.
LOAD = 0.5
_TIMEOUT_SECONDS = 60.0
#: Batches that may wait. What was held while a killed server had no successor comes to that one all at once; with
#: TensorFlow Serving's default of 10 it would refuse most of it, which would not be the switch's fault or the kill's.
_QUEUE = 1000

#: The servers that can be measured, by the name on the command line.
NODES: dict[str, StartNode] = {
    "embedded": embedded,
    "tensorflow-serving": tensorflow_serving,
    "tensorflow-serving-versions": tensorflow_serving_versions,
}
ALL_NODES = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chose; see :func:`parse`."""

    node: str
    model: str
    rate: float | None
    rest_share: float
    kills: bool
    switches: int
    interval: float
    capacity_seconds: float
    models_dir: Path | None
    out: Path | None
    markdown: bool
    seed: int


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; exits with a message for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switching", description=__doc__)
    add = parser.add_argument
    add("--model", choices=list(ZOO), default=HEAVY_MODEL, metavar="NAME")
    add(
        "--node", choices=[*NODES, ALL_NODES], default="embedded", help="what is reconfigured; all: one after the other"
    )
    add("--rate", default="auto", help="requests a second; auto: half of what the slowest configuration takes")
    add(
        "--rest-share", type=float, default=0.0, help="share of the load that comes over REST, 0 to 1; the rest is gRPC"
    )
    add("--kills", action="store_true", help="then kill the agent and a server, where they are processes of their own")
    add("--switches", type=int, default=42, help="in all, each knob there and back in turn (42: six of each)")
    add("--interval", type=float, default=2.0, help="seconds from the end of a switch to the next")
    add("--capacity-seconds", type=float, default=1.5, help="for the capacity of a configuration, with --rate auto")
    add("--models-dir", type=Path, metavar="DIR", help="folder of exported models; what is missing is exported there")
    add("--out", type=Path, metavar="DIR", help="write switching.json, switching.md and every request as .npz there")
    add("--markdown", action="store_true", help="print Markdown, as it can be pasted into the documentation")
    add("--seed", type=int, default=0, help="of arrivals, order and intervals")
    given = parser.parse_args(argv)
    try:
        rate = None if given.rate == "auto" else float(given.rate)
    except ValueError:
        parser.error(f"--rate is a number or auto, not {given.rate!r}")
    if given.switches < 1 or given.interval <= 0 or given.capacity_seconds <= 0 or (rate is not None and not rate > 0):
        parser.error("--switches is at least 1; --interval, --capacity-seconds and --rate are above 0")
    if not 0 <= given.rest_share <= 1:
        parser.error("--rest-share lies between 0 and 1")
    return Options(
        node=given.node,
        model=given.model,
        rate=rate,
        rest_share=given.rest_share,
        kills=given.kills,
        switches=given.switches,
        interval=given.interval,
        capacity_seconds=given.capacity_seconds,
        models_dir=given.models_dir,
        out=given.out,
        markdown=given.markdown,
        seed=given.seed,
    )


def variants(base: ServingConfig, cpus: int) -> dict[str, ServingConfig]:
    """For each knob the configuration that differs from ``base`` in it alone."""
    return {
        "max_batch_size": base.with_values(max_batch_size=8),
        "batch_timeout_micros": base.with_values(batch_timeout_micros=1000),
        "num_batch_threads": base.with_values(num_batch_threads=base.num_batch_threads + cpus),
        "enable_batching": base.with_values(enable_batching=False),
        "tensorflow_intra_op_parallelism": base.with_values(tensorflow_intra_op_parallelism=max(2, cpus)),
        "tensorflow_inter_op_parallelism": base.with_values(tensorflow_inter_op_parallelism=1),
        "instances": base.with_values(instances=2),
    }


def sequence(base: ServingConfig, changed: dict[str, ServingConfig], seed: int) -> Iterator[tuple[str, ServingConfig]]:
    """Endless (knob, configuration to put): each knob there and back, all in turn, each turn in another order."""
    knobs, rng = list(changed), np.random.default_rng(seed)
    while True:
        for knob in (knobs[index] for index in rng.permutation(len(knobs))):
            yield knob, changed[knob]
            yield knob, base


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is put in force.

    Attributes:
        base: At first, and between the others.
        slow: The load is half of what the slowest of these takes; empty where the user chose it.
        steps: (Knob, configuration), in order.
        last: After a kill, before another.
    """

    base: ServingConfig
    slow: Sequence[ServingConfig]
    steps: Sequence[tuple[str, ServingConfig]]
    last: ServingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one server showed.

    Attributes:
        document: JSON-ready.
        results: By knob.
        tables: For people.
        requests: Every request.
    """

    document: dict[str, Any]
    results: list[KnobResult]
    tables: list[Table]
    requests: Requests


async def measure(options: Options) -> None:
    """Carry a run out and publish it."""
    described = machine()
    names = list(NODES) if options.node == ALL_NODES else [options.node]
    measured: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="regulus-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        models_dir = options.models_dir or folder / "models"
        await export(options.model, models_dir, folder)
        base = batching_on(int(described["cpus"])).with_values(max_enqueued_batches=_QUEUE)
        changed = variants(base, int(described["cpus"]))
        slow = await _slowest(options, models_dir, folder, [base, *changed.values()]) if options.rate is None else []
        for name in names:
            own = folder / name
            own.mkdir()
            steps = itertools.islice(sequence(base, changed, options.seed), options.switches)
            plan = Plan(base=base, slow=slow, steps=list(steps), last=changed["num_batch_threads"])
            measured[name] = await _measure_one(name, options, models_dir, own, plan)
    about = {"benchmark": "switching", "started_at": time.time(), "machine": described, "seed": options.seed}
    tables = [shown for one in measured.values() for shown in one.tables]
    if len(names) > 1:
        document: dict[str, Any] = {**about, "nodes": {name: one.document for name, one in measured.items()}}
        tables.append(side_by_side({name: one.results for name, one in measured.items()}))
    else:
        document = {**about, **measured[names[0]].document}
    publish("switching", document, tables, out=options.out, markdown=options.markdown)
    if options.out is not None:
        for name, one in measured.items():
            suffix = "" if len(names) == 1 else f"_{name}"
            _write_requests(options.out / f"switching_requests{suffix}.npz", one.requests)


async def _slowest(
    options: Options, models_dir: Path, folder: Path, configs: Sequence[ServingConfig]
) -> list[ServingConfig]:
    """Of the configurations those under which the load is chosen; see :mod:`benchmarks.capacity`."""
    progress, own = Progress(len(configs)), folder / "ranking"
    own.mkdir()
    async with embedded(options.model, models_dir, own) as node:
        rates = await capacities(node, options.model, configs, options.capacity_seconds, progress)
    progress.close()
    return slowest(configs, rates)


async def _measure_one(name: str, options: Options, models_dir: Path, folder: Path, plan: Plan) -> Measured:
    print(f"{name} starts", file=sys.stderr)
    async with NODES[name](options.model, models_dir, folder) as node:
        rate, requests, switches, killed = await _switch_under_load(node, options, plan)
    observed = observe(requests, switches)
    results = by_knob(observed, np.random.default_rng(options.seed))
    lost = kills.losses(requests, killed)
    failed = int((~requests.good).sum()) - sum(loss.lost for loss in lost)
    wanted = targets(results, failed)
    if lost:
        wanted["a kill loses no more than what was in hand"] = all(loss.bearable for loss in lost)
    lag = requests.sent - requests.intended
    document: dict[str, Any] = {
        "node": name,
        "model": options.model,
        "rate_per_second": rate,
        "rest_share": options.rest_share,
        "requests": len(requests.intended),
        "failed": failed,
        "client_lag_p99": quantile(lag[~np.isnan(lag)], 0.99),
        "knobs": [result.to_dict() for result in results],
        "switches": [one.to_dict() for one in observed],
        "kills": [loss.to_dict() for loss in lost],
        "targets": wanted,
    }
    verdicts = [[target, "yes" if held else "no"] for target, held in wanted.items()]
    tables = [table(f"{options.model}, {name}", rate, results, failed)]
    if lost:
        tables.append(kills.table(lost))
    tables.append(Table(f"Targets, {name}", ["target", "met"], verdicts))
    return Measured(document=document, results=results, tables=tables, requests=requests)


def _write_requests(path: Path, requests: Requests) -> None:
    np.savez_compressed(
        path,
        intended=requests.intended,
        sent=requests.sent,
        answered=requests.answered,
        outcome=np.array(requests.outcome),
    )


async def _switch_under_load(
    node: Node, options: Options, plan: Plan
) -> tuple[float, Requests, list[Switch], list[kills.Kill]]:
    """The offered rate, every request, every switch, and every kill."""
    with_kills = options.kills and node.restart_agent is not None
    progress = Progress(len(plan.slow) + len(plan.steps) + (len(kills.PROCESSES) if with_kills else 0))
    slow = await capacities(node, options.model, plan.slow, options.capacity_seconds, progress)
    rate = options.rate or LOAD * min(slow)
    await node.put(plan.base)
    rng = np.random.default_rng(options.seed)
    shares = {node.grpc: 1 - options.rest_share, node.rest: options.rest_share}
    switches: list[Switch] = []
    killed: list[kills.Kill] = []
    async with AsyncExitStack() as stack:
        loads = []
        for target, share in shares.items():
            if share > 0:
                transport, pool = await stack.enter_async_context(_ready(target, options.model, rng))
                loads.append(OpenLoop(transport, pool, rate * share, rng))
        for load in loads:
            load.start()
            stack.callback(load.stop)
        current = plan.base
        for knob, config in plan.steps:
            progress.begin(f"{knob} under {rate:.0f} requests/s")
            await asyncio.sleep(options.interval)
            sent = time.monotonic()
            await node.put(config)
            switches.append(Switch(knob, current.describe(), config.describe(), sent, time.monotonic()))
            current = config
            progress.done()
        await asyncio.sleep(options.interval)
        if with_kills:
            killed = await kills.carry_out(node, plan.last, progress)
        requests = together([await load.finish() for load in loads])
    progress.close()
    return rate, requests, switches, killed


def _ready(
    target: str, model: str, rng: np.random.Generator
) -> AbstractAsyncContextManager[tuple[Transport, list[bytes]]]:
    return prepared(
        parse_target(target),
        RequestSpec(model=model),
        rng,
        timeout=_TIMEOUT_SECONDS,
        connections=4,
        max_inflight=MAX_IN_FLIGHT,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        uvloop.run(measure(options))
    except (ChildFailedError, RegulusError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
