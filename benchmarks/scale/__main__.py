"""``python -m benchmarks.scale``: lateness, processor time and memory of one control service for 1 to 1000 models."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.interruptible import run_interruptible
from benchmarks.markers import write_between
from benchmarks.processes import read_line, running
from benchmarks.progress import Progress
from benchmarks.report import machine, machine_line, publish
from benchmarks.scale.nodes import MISBEHAVIOURS
from benchmarks.scale.steered import Task
from benchmarks.statistics import quantile
from benchmarks.tables import Table, milliseconds
from service.cli.demo.processes import ChildFailedError
from service.domain.decision import Mode

#: (models, nodes) of each case, and the misbehaving nodes beside them.
CASES: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (1, 1, ()),
    (10, 2, ()),
    (100, 20, ()),
    *((100, 20, (what,)) for what in MISBEHAVIOURS),
    (1000, 50, ()),
)
SECTION = "scale"
_WAIT_SECONDS = 600.0


async def measure(options: argparse.Namespace) -> None:
    """Carry all cases out and publish them."""
    described, found = machine(), []
    cases = [case for case in CASES if case[0] <= options.most]
    progress = Progress(len(cases))
    for models, nodes, bad in cases:
        progress.begin(f"{models} models on {nodes} nodes" + (f", and one that misbehaves: {bad[0]}" if bad else ""))
        found.append(await one(models, nodes, bad, options.warm_up, options.seconds))
        progress.done()
    progress.close()
    document = {"benchmark": "scale", "started_at": time.time(), "machine": described, "cases": found}
    shown = table(found)
    publish("scale", document, [shown], out=options.out, markdown=False)
    if options.docs is not None:
        write_between(options.docs, SECTION, f"{machine_line(described)}\n\n{shown.markdown()}")


async def one(models: int, nodes: int, bad: Sequence[str], warm_up: float, seconds: float) -> dict[str, Any]:
    """One case; its findings, JSON-ready.

    Raises:
        ChildFailedError: A process ended.
    """
    each = models // nodes
    with tempfile.TemporaryDirectory(prefix="regulus-scale-") as scratch:
        folder = Path(scratch)
        simulated = [sys.executable, "-m", "benchmarks.scale.nodes", str(nodes), str(each), *bad]
        async with running("simulated nodes", simulated, folder / "nodes.log", talk=True) as child:
            ports = json.loads(await read_line(child, 30))
            names = [(f"m{node}-{index}", ports[node]) for node in range(nodes) for index in range(each)]
            names += [(f"bad-{what}", port) for what, port in zip(bad, ports[nodes:], strict=True)]
            task = Task(
                models=[settings(name, port) for name, port in names],
                loop={},
                warm_up_seconds=warm_up,
                seconds=seconds,
                database=str(folder / "history.db"),
            )
            steered = [sys.executable, "-m", "benchmarks.scale.steered"]
            log = folder / "steered.log"
            async with running("control service", steered, log, talk=True) as service:
                pipe = service.process.stdin
                assert pipe is not None  # talk=True
                pipe.write(json.dumps(asdict(task)).encode())
                pipe.close()
                answer = await asyncio.wait_for(service.stdout.read(), warm_up + seconds + _WAIT_SECONDS)
                if not answer:
                    raise ChildFailedError(f"the control service ended:\n{service.log_tail()}")
    return summary(json.loads(answer), nodes, bad)


def settings(name: str, port: int) -> dict[str, Any]:
    """A model that is steered in earnest."""
    root = f"http://127.0.0.1:{port}"
    return {
        "name": name,
        "agent_url": f"{root}/{name}",
        "metrics_url": f"{root}/metrics",
        "slo": {"bound_seconds": 0.05},
        "mode": Mode.AUTO.value,
    }


def summary(raw: dict[str, Any], nodes: int, bad: Sequence[str]) -> dict[str, Any]:
    """What is kept of a case."""
    late = raw.pop("late")
    return {
        **raw,
        "nodes": nodes,
        "misbehaving": list(bad),
        "cpu_seconds_per_model_minute": raw["cpu_seconds"] / raw["seconds"] * 60 / raw["models"],
        **{
            f"{name}_late_p{q * 100:g}": quantile(late.get(kind, []), q)
            for name, kind in (("round", "steer"), ("reading", "watch"))
            for q in (0.5, 0.99, 1.0)
        },
    }


def table(cases: Sequence[dict[str, Any]]) -> Table:
    """For people."""
    base = cases[0]["resident_bytes"] if cases else 0
    rows = []
    for case in cases:
        label = f"{case['models']} on {case['nodes']}"
        more = (case["resident_bytes"] - base) / max(case["models"] - 1, 1)
        rows.append(
            [
                label + (f" + 1: {case['misbehaving'][0]}" if case["misbehaving"] else ""),
                *(milliseconds(case[f"round_late_p{q}"]) for q in ("50", "99")),
                *(milliseconds(case[f"reading_late_p{q}"]) for q in ("50", "99")),
                f"{case['cpu_seconds_per_model_minute']:.2f}",
                f"{case['cpu_seconds'] / case['seconds']:.2f}",
                f"{case['resident_bytes'] / 1e6:.0f}",
                "–" if case["models"] == 1 else f"{more / 1e6:.2f}",
                f"{case['start_seconds']:.1f}",
            ]
        )
    header = [
        "models on nodes",
        "round late, p50 ms",
        "p99",
        "reading late, p50 ms",
        "p99",
        "CPU s a model and minute",
        "processors",
        "memory MB",
        "MB a further model",
        "s until all have begun",
    ]
    note = (
        "Late: how much longer than the interval of half a second it took from one round of a model's loop (or one "
        "reading of its metrics) to the next, of all models that do not misbehave; what a round does is part of it. "
        "Defaults throughout, mode `auto`, the shipped policy."
    )
    return Table("Many models under one control service", header, rows, note)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with a message for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    add = parser.add_argument
    add("--most", type=int, default=1000, help="leave out cases with more models")
    add("--warm-up", type=float, default=45.0, help="seconds after the start of all loops that are not counted")
    add("--seconds", type=float, default=30.0, help="seconds that are")
    add("--out", type=Path, default=Path("out/scale"), metavar="DIR", help="folder for scale.json and scale.md")
    add("--docs", type=Path, metavar="FILE", help="Markdown file whose section between markers is replaced")
    given = parser.parse_args(argv)
    if given.most < 1 or given.warm_up < 0 or given.seconds <= 0:
        parser.error("--most is at least 1, --seconds above 0, --warm-up not negative")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        run_interruptible(measure(options))
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
