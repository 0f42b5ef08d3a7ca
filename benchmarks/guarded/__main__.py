"""``python -m benchmarks.guarded``: what the guardrails cost and save, on landscapes or, with ``--live``, live."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.guarded import live
from benchmarks.guarded.report import publish
from benchmarks.guarded.study import Study
from benchmarks.guarded.tasks import Task, tasks
from benchmarks.guarded.variants import PAIRS, VARIANTS, Variant
from benchmarks.progress import Progress
from benchmarks.replay.runner import carry_out_all
from benchmarks.replay.scenarios import Scenario, scenarios
from benchmarks.replay.tasks import SEEDS_PER_TASK
from benchmarks.replay.world import Terrain, loads, objective, terrains
from service.cli.demo.processes import ChildFailedError
from service.domain.errors import InvalidValueError, RegulusError

ROOT = Path(__file__).parents[2]
LANDSCAPES = ROOT / "benchmarks" / "landscapes"
OUT = ROOT / "out" / "guarded"
KINDS = ("stationary", "step")
#: Ten minutes, and how often, of a whole and of a quick run.
WINDOWS, SEEDS = 120, 20
QUICK_WINDOWS, QUICK_SEEDS = 24, 2
USAGE, INTERRUPTED = 2, 130


def measure(options: argparse.Namespace) -> None:
    """Play what was not played yet, and publish it all.

    Raises:
        InvalidValueError: An option names something unknown, or a landscape is missing or incomplete.
        RegulusError: A run failed.
        KeyboardInterrupt: It was interrupted; what was done is kept.
    """
    variants = _variants(options.variants, quick=options.quick)
    known = terrains(options.landscapes, options.only)
    wanted = scenarios(loads(one.landscape for one in known.values()), options.kinds, options.windows)
    scratch = options.out / "pieces"
    scratch.mkdir(parents=True, exist_ok=True)
    planned = tasks(variants, wanted, options.seeds, options.landscapes, scratch)
    _carry_out([task for task in planned if not task.done], options.workers)
    publish(_study(variants, wanted, known, planned), options.out, options.docs)


def _carry_out(pending: Sequence[Task], workers: int) -> None:
    progress, left = Progress(len(pending)), len(pending)

    def finished() -> None:
        nonlocal left
        progress.done()
        left -= 1
        if left:
            progress.begin(what)

    what = f"pieces of {SEEDS_PER_TASK} runs, {workers} at a time"
    if pending:
        progress.begin(what)
    failures = carry_out_all(pending, workers, finished)
    progress.close()
    if failures:
        raise RegulusError("\n".join(str(failure) for failure in failures))


def _study(
    variants: tuple[Variant, ...], wanted: tuple[Scenario, ...], known: dict[str, Terrain], planned: Sequence[Task]
) -> Study:
    bounds = {scenario.name: objective(scenario, known).bound_seconds for scenario in wanted}
    rows = sorted(
        (row for task in planned for row in task.rows()), key=lambda row: (row.variant, row.scenario, row.seed)
    )
    return Study(variants, wanted, bounds, tuple(rows))


def _variants(given: str | None, *, quick: bool) -> tuple[Variant, ...]:
    """Those named, and whatever they are held against."""
    pairs = tuple(one for pair in PAIRS for one in pair)
    if given is None:
        return pairs if quick else VARIANTS
    asked = {name.strip() for name in given.split(",") if name.strip()}
    unknown = asked - {one.name for one in VARIANTS}
    if unknown or not asked:
        names = ", ".join(one.name for one in VARIANTS)
        raise InvalidValueError("variants", f"{', '.join(sorted(unknown)) or 'none'} is none of {names}")
    policies = {one.policy for one in VARIANTS if one.name in asked}
    return tuple(one for one in VARIANTS if one.name in asked or (one.policy in policies and not one.guarded))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with a message for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guarded", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a first impression: the pairs alone, two seeds, two minutes a run")
    add("--seeds", type=int, help=f"runs of each variant under each scenario; {SEEDS} without --quick")
    add("--windows", type=int, help=f"length of a run in windows of five seconds; {WINDOWS} without --quick")
    add("--variants", metavar="A,B", help=f"of {', '.join(one.name for one in VARIANTS)}")
    add("--kinds", default=",".join(KINDS), metavar="A,B", help="kinds of scenario; by default %(default)s")
    add("--only", default="", metavar="A,B", help="landscapes; all by default")
    add("--landscapes", type=Path, default=LANDSCAPES, metavar="DIR", help="folder of the landscapes")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes; by default one a processor")
    add("--out", type=Path, default=OUT, metavar="DIR", help="folder of the results and of finished pieces")
    add("--docs", type=Path, metavar="FILE", help="Markdown file whose section between markers is replaced")
    live.add_options(parser)
    given = parser.parse_args(argv)
    given.seeds = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)
    given.windows = given.windows or (QUICK_WINDOWS if given.quick else WINDOWS)
    given.kinds = tuple(given.kinds.split(","))
    given.only = tuple(name for name in given.only.split(",") if name)
    if min(given.seeds, given.windows, given.workers) < 1:
        parser.error("--seeds, --windows and --workers are at least 1")
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"--kinds: {', '.join(sorted(unknown))} is none of {', '.join(KINDS)}")
    live.check_options(parser, given)
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        if options.live:
            return live.measure(options)
        measure(options)
    except InvalidValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except (RegulusError, ChildFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nCut short; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
