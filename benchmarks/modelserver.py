"""How fast the embedded server is, beside the bare session call, a gRPC echo and other Python servers, in one run.

``python -m benchmarks.modelserver``; benchmarks/README.md explains what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import uvloop

from benchmarks import contenders, profiling
from benchmarks.contenders import Cell, Setting
from benchmarks.processes import export
from benchmarks.progress import Progress
from benchmarks.recording import Recording, record
from benchmarks.report import machine, publish
from benchmarks.samples import Sample, bare_variants
from benchmarks.servers import batching_on, embedded
from benchmarks.summary import HEAVY_MODEL, LIGHT_MODEL, TARGET_CONCURRENCY, Summary
from benchmarks.tables import Table
from models.zoo import ZOO
from service.cli.demo.processes import ChildFailedError
from service.domain.errors import RegulusError
from service.loadgen.closed_loop import run_closed_loop
from service.loadgen.payloads import RequestSpec
from service.loadgen.target import TargetError

#: Ways to ask the embedded server; see ``contenders.regulus``.
_REGULUS_WAYS = 5

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chose; see :func:`parse`."""

    models: tuple[str, ...]
    rounds: int
    seconds: float
    concurrencies: tuple[int, ...]
    contenders: tuple[str, ...]
    peers_python: Path | None
    models_dir: Path | None
    out: Path | None
    markdown: bool
    profile: bool
    seed: int

    @property
    def warmup(self) -> float:
        """Seconds before each measurement."""
        return min(0.5, self.seconds / 2)


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; exits with a message for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modelserver", description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", choices=list(ZOO), default=[LIGHT_MODEL, HEAVY_MODEL], metavar="NAME")
    add("--rounds", type=int, help="repeats of everything, in another order each (5; with --quick 2)")
    add("--seconds", type=float, help="length of one measurement (3; with --quick 1)")
    add("--quick", action="store_true", help="a first impression: fewer and shorter rounds")
    add("--concurrency", nargs="+", type=int, default=[1, 8, 64], metavar="N", help="numbers of clients")
    add("--contenders", nargs="+", choices=["bare", "echo", "regulus"], default=["bare", "echo", "regulus"])
    add("--peers", action="store_true", help="BentoML, Ray Serve and LitServe as well; needs --peers-python")
    add("--peers-python", type=Path, metavar="PATH", help="interpreter of the environment that has the peers")
    add("--models-dir", type=Path, metavar="DIR", help="folder of exported models; what is missing is exported there")
    add("--out", type=Path, metavar="DIR", help="write modelserver.json and modelserver.md there")
    add("--markdown", action="store_true", help="print Markdown, as it can be pasted into the documentation")
    add("--profile", action="store_true", help="at the end, watch the server with py-spy and say where its time goes")
    add("--seed", type=int, default=0, help="of orders and intervals")
    given = parser.parse_args(argv)
    if given.peers and given.peers_python is None:
        parser.error("--peers needs --peers-python PATH; benchmarks/README.md says how to make that environment")
    rounds = given.rounds if given.rounds is not None else (2 if given.quick else 5)
    seconds = given.seconds if given.seconds is not None else (1.0 if given.quick else 3.0)
    if rounds < 1 or seconds <= 0 or min(given.concurrency) < 1:
        parser.error("--rounds and --concurrency are at least 1, --seconds is above 0")
    return Options(
        models=tuple(dict.fromkeys(given.models)),
        rounds=rounds,
        seconds=seconds,
        concurrencies=tuple(sorted(set(given.concurrency))),
        contenders=tuple(given.contenders),
        peers_python=given.peers_python if given.peers else None,
        models_dir=given.models_dir,
        out=given.out,
        markdown=given.markdown,
        profile=given.profile,
        seed=given.seed,
    )


class Run:
    """One run of the benchmark.

    Args:
        options: What the user chose.
        folder: For logs and, unless the user names another, models.
        peers: Names of the peers that are installed.
    """

    def __init__(self, options: Options, folder: Path, peers: Sequence[str]) -> None:
        self.samples: list[Sample] = []
        self.profiles: list[Table] = []
        self.problems: dict[str, str] = {}
        self._options = options
        self._folder = folder
        self._models_dir = options.models_dir or folder / "models"
        self._peers = list(peers)
        self._rng = np.random.default_rng(options.seed)
        self._described = machine()
        self._progress = Progress(options.rounds * len(options.models) * self._cells_a_round())

    async def carry_out(self) -> dict[str, Any]:
        """Measure everything; the document to be written."""
        options = self._options
        started_at = time.time()
        recordings = {}
        for model in options.models:
            self._progress.say(f"Preparing {model}")
            await export(model, self._models_dir, self._folder)
            async with embedded(model, self._models_dir, self._folder) as node:
                target = self._folder / model
                target.mkdir(exist_ok=True)
                recordings[model] = await record(node, model, target)
        for number in range(options.rounds):
            for model in self._in_any_order(options.models):
                await self._round(self._setting(model, number), recordings[model])
        self._progress.close()
        if options.profile:
            await self._profile()
        summary = Summary(self.samples, options.seed)
        return {
            "benchmark": "modelserver",
            "started_at": started_at,
            "machine": self._described,
            "seed": options.seed,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "batching": batching_on(self._cpus).to_dict(),
            "samples": [sample.to_dict() for sample in self.samples],
            "ratios": summary.ratios(),
            "targets": [target.to_dict() for target in summary.targets()],
            "problems": self.problems,
        }

    @property
    def _cpus(self) -> int:
        return int(self._described["cpus"])

    def _setting(self, model: str, number: int) -> Setting:
        options = self._options
        return Setting(
            model=model,
            models_dir=self._models_dir,
            round=number,
            seconds=options.seconds,
            warmup=options.warmup,
            concurrencies=options.concurrencies,
            cpus=self._cpus,
            folder=self._folder,
        )

    def _cells_a_round(self) -> int:
        clients = self._options.concurrencies
        counts = {
            "bare": sum(len(bare_variants(at)) for at in clients),
            "echo": len(clients),
            "regulus": _REGULUS_WAYS * len(clients),
        }
        return sum(counts[name] for name in self._options.contenders) + len(self._peers) * len(clients)

    async def _round(self, setting: Setting, recording: Recording) -> None:
        """Everything once, for one model: ours together, each peer alone, in random order."""
        for name in self._in_any_order(["", *self._peers]):
            if name:
                await self._peer(name, setting, recording)
            else:
                await self._ours(setting, recording)

    async def _ours(self, setting: Setting, recording: Recording) -> None:
        start = {
            "bare": lambda: contenders.bare(setting),
            "echo": lambda: contenders.echo(setting, recording),
            "regulus": lambda: contenders.regulus(setting),
        }
        async with AsyncExitStack() as stack:
            cells: list[Cell] = []
            for name in self._options.contenders:
                cells += await stack.enter_async_context(start[name]())
            await self._measure(setting, cells)

    async def _peer(self, name: str, setting: Setting, recording: Recording) -> None:
        """A peer that does not run is reported, and the benchmark goes on without it."""
        assert self._options.peers_python is not None
        before = len(self.samples)
        try:
            async with contenders.peer(name, self._options.peers_python, setting, recording) as cells:
                await self._measure(setting, cells)
        except (ChildFailedError, TargetError, httpx.HTTPError) as error:
            self.problems[f"{name}, {setting.model}, round {setting.round}"] = str(error)
            self._progress.say(f"{name} is left out of this round: {error}")
            self._progress.done(len(setting.concurrencies) - (len(self.samples) - before))

    def _in_any_order(self, of: Sequence[_T]) -> list[_T]:
        return [of[index] for index in self._rng.permutation(len(of))]

    async def _measure(self, setting: Setting, cells: Sequence[Cell]) -> None:
        for cell in self._in_any_order(cells):
            where = f"{setting.model}, round {setting.round + 1}"
            self._progress.begin(f"{where}: {cell.subject}, {cell.concurrency} clients")
            self.samples.append(await cell.measure())
            self._progress.done()

    async def _profile(self) -> None:
        """Watch the server at work, outside all measurements: being watched slows it down."""
        options = self._options
        beside = [Path(sys.executable), *([options.peers_python] if options.peers_python else [])]
        try:
            py_spy = profiling.find_py_spy(beside)
            for model in options.models:
                self._progress.say(f"Profiling {model}")
                self.profiles += await self._profile_model(py_spy, model)
        except profiling.ProfilerError as error:
            self.problems["profile"] = str(error)
            self._progress.say(str(error))

    async def _profile_model(self, py_spy: Path, model: str) -> list[Table]:
        """Where the time goes; without py-spy first, then with it."""
        seconds = max(2.0, self._options.seconds)
        async with embedded(model, self._models_dir, self._folder) as node:
            await node.put(batching_on(self._cpus))
            load = asyncio.create_task(
                run_closed_loop(
                    node.grpc, RequestSpec(model=model), concurrency=TARGET_CONCURRENCY, duration=2 * seconds + 2
                )
            )
            try:
                await asyncio.sleep(1.0)
                before, started = profiling.thread_seconds(node.pid), time.monotonic()
                await asyncio.sleep(seconds)
                after, passed = profiling.thread_seconds(node.pid), time.monotonic() - started
                stacks = await profiling.record(py_spy, node.pid, seconds, self._folder / "profile.txt")
            finally:
                await load
        used = {kind: cpu - before.get(kind, 0.0) for kind, cpu in after.items()}
        return [profiling.thread_table(model, used, passed), profiling.profile_table(model, stacks)]


async def measure(options: Options) -> None:
    """Carry a run out and publish it."""
    versions = await contenders.installed_peers(options.peers_python)
    for name in (name for name, version in versions.items() if version is None):
        print(f"{name} is not installed in {options.peers_python}: left out", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="regulus-bench-", ignore_cleanup_errors=True) as scratch:
        run = Run(options, Path(scratch), [name for name, version in versions.items() if version])
        document = {**await run.carry_out(), "peers": versions}
    tables = [*Summary(run.samples, options.seed).tables(), *run.profiles]
    publish("modelserver", document, tables, out=options.out, markdown=options.markdown)


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
