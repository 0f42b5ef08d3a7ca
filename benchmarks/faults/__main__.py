"""``python -m benchmarks.faults``: inject every fault into the real processes; ``… soak``: load and faults for long.

``… report`` rebuilds the table of the faults from the results that are in ``--out``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import report
from benchmarks.faults.registry import FAULTS
from benchmarks.faults.soak import soak, soak_tables
from benchmarks.faults.suite import Result, run
from benchmarks.interruptible import run_interruptible
from benchmarks.markers import write_between
from benchmarks.progress import Progress
from benchmarks.report import machine, machine_line, publish
from service.cli.demo.processes import ChildFailedError

SUITE, SOAK, REPORT = "suite", "soak", "report"
DOCS = Path("docs/reliability.md")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with a message for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    add = parser.add_argument
    add("what", nargs="?", choices=[SUITE, SOAK, REPORT], default=SUITE)
    add("--only", action="append", metavar="NAME", help="only faults whose name holds this; may be given several times")
    add("--list", action="store_true", help="list the faults and what must hold, and end")
    add("--quick", action="store_true", help="each fault once, and nothing written to the documentation")
    add("--add", action="store_true", help="add to the results that are in --out already")
    add("--repeats", type=int, default=3, help="how often each fault is injected")
    add("--minutes", type=float, default=30.0, help="length of a soak")
    add("--seed", type=int, default=0, help="of orders, moments and loads")
    add("--out", type=Path, default=Path("out/faults"), metavar="DIR", help="folder for the JSON results")
    add("--docs", type=Path, metavar="FILE", help=f"document to fill; a whole run fills {DOCS}")
    given = parser.parse_args(argv)
    if given.repeats < 1 or given.minutes <= 0:
        parser.error("--repeats is at least 1, --minutes above 0")
    given.faults = [
        fault for fault in FAULTS.values() if not given.only or any(part in fault.name for part in given.only)
    ]
    if not given.faults:
        parser.error(f"no fault's name holds {' or '.join(given.only)}; --list shows them")
    if (given.add or given.what == REPORT) and not (given.out / "faults.json").exists():
        parser.error(f"there are no results in {given.out} yet")
    if given.quick:
        given.repeats = 1
    elif given.docs is None and not given.only and DOCS.exists():
        given.docs = DOCS
    return given


async def inject_all(options: argparse.Namespace) -> bool:
    """The suite; whether all held."""
    described, path = machine(), options.out / "faults.json"
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"] if options.add else []
    progress = Progress(len(options.faults) * options.repeats)
    document = {
        "benchmark": "faults",
        "started_at": time.time(),
        "machine": described,
        "seed": options.seed,
        "results": results,
    }
    options.out.mkdir(parents=True, exist_ok=True)

    def keep(result: Result) -> None:
        results.append(_finite(result.to_dict()))
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    await run(options.faults, options.repeats, np.random.default_rng(options.seed), progress, keep)
    progress.close()
    return tell(document, options)


def tell(document: dict[str, Any], options: argparse.Namespace) -> bool:
    """Put results where they were asked for; whether all held."""
    results, described = document["results"], document["machine"]
    tables = [report.table(results, FAULTS), report.verdicts(results)]
    publish("faults", document, tables, out=options.out, markdown=False)
    wrong = report.failures(results)
    for line in wrong:
        print(line, file=sys.stderr)
    if options.docs is not None:
        lines = ["What did not hold:", "", *(f"- {line}" for line in wrong)] if wrong else []
        text = "\n".join([machine_line(described), "", *(one.markdown() for one in tables), *lines])
        write_between(options.docs, "faults", text)
    return not wrong


def _finite(document: dict[str, Any]) -> dict[str, Any]:
    seconds = document["recovery_seconds"]
    return {**document, "recovery_seconds": None if math.isnan(seconds) else seconds}


async def soak_long(options: argparse.Namespace) -> bool:
    """The soak; whether all held."""
    described = machine()
    progress = Progress(max(round(options.minutes), 1))
    found = await soak(options.faults, options.minutes * 60, np.random.default_rng(options.seed), progress)
    progress.close()
    document = {"benchmark": "soak", "started_at": time.time(), "machine": described, "seed": options.seed, **found}
    tables = soak_tables(found)
    publish("soak", document, tables, out=options.out, markdown=False)
    for line in found["wrong"]:
        print(line, file=sys.stderr)
    if options.docs is not None:
        wrong = ["What did not hold:", "", *(f"- {line}" for line in found["wrong"])] if found["wrong"] else []
        text = "\n".join([machine_line(described), "", *(one.markdown() for one in tables), *wrong])
        write_between(options.docs, "soak", text)
    return not found["wrong"]


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status: 0 all held, 1 something did not."""
    options = parse(sys.argv[1:] if argv is None else argv)
    if options.list:
        for fault in options.faults:
            print(f"{fault.name} [{fault.on}]\n    {fault.must_hold}")
        return 0
    if options.what == REPORT:
        return 0 if tell(json.loads((options.out / "faults.json").read_text(encoding="utf-8")), options) else 1
    try:
        held = run_interruptible(soak_long(options) if options.what == SOAK else inject_all(options))
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 130
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
