"""Run: a whole benchmark, from options to results. What is done already, by its fingerprint, is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.replay import cost, fingerprint, results
from benchmarks.replay.ablations import ABLATION_KINDS, ABLATIONS
from benchmarks.replay.policies import factory_of
from benchmarks.replay.results import Results
from benchmarks.replay.runner import Failure, Job, carry_out_all
from benchmarks.replay.scenarios import scenarios
from benchmarks.replay.tasks import tasks
from benchmarks.replay.world import Terrain, loads, terrains
from benchmarks.report import machine
from service.domain.errors import InvalidValueError

#: ``tell(done, total)`` is called at the start and after each job.
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run.

    Attributes:
        landscapes: Folder of the landscapes.
        only: Names of the landscapes to use; all where empty.
        policies: Names.
        kinds: Kinds of scenario.
        seeds: 0 … seeds − 1.
        windows: Length of a run.
        workers: Processes.
        scratch: Folder in which finished pieces are kept.
        costs: Whether to measure time and memory too.
        effort: How thoroughly.
    """

    landscapes: Path
    only: Sequence[str] = ()
    policies: Sequence[str]
    kinds: Sequence[str]
    seeds: int
    windows: int
    workers: int
    scratch: Path
    costs: bool = True
    effort: cost.Effort = cost.WHOLE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        results: Of all jobs that were done.
        skipped: How many of them had been done before.
        failures: Jobs that could not be done.
    """

    results: Results
    skipped: int
    failures: list[Failure]


def run(options: Options, tell: Tell) -> Outcome:
    """Run the benchmark.

    Raises:
        InvalidValueError: An option names something unknown, or a landscape is missing or incomplete.
        KeyboardInterrupt: It was interrupted; what was done is kept.
    """
    known = terrains(options.landscapes, options.only)
    left_out = _left_out(options.policies, known)
    who = [name for name in options.policies if name not in left_out]
    wanted = scenarios(loads(one.landscape for one in known.values()), options.kinds, options.windows)
    if not wanted:
        raise InvalidValueError("scenarios", f"{', '.join(options.kinds)}: these landscapes allow none of them")
    options.scratch.mkdir(parents=True, exist_ok=True)
    variants, others = [name for name in who if name in ABLATIONS], [name for name in who if name not in ABLATIONS]
    plays = tasks(others, wanted, options.seeds, options.landscapes, options.scratch)
    some = [scenario for scenario in wanted if scenario.kind in ABLATION_KINDS]
    plays += tasks(variants, some, options.seeds, options.landscapes, options.scratch)
    where = options.landscapes / f"{next(iter(known))}.parquet"
    costed = others if options.costs else []
    costs = [cost.cost_task(policy, where, options.scratch, options.effort) for policy in costed]
    jobs: list[Job] = [*plays, *costs]
    finished = skipped = sum(job.done for job in jobs)
    tell(finished, len(jobs))

    def advance() -> None:
        nonlocal finished
        finished += 1
        tell(finished, len(jobs))

    failures = carry_out_all([job for job in plays if not job.done], options.workers, advance)
    # Times are taken one at a time: nobody competes.
    failures += carry_out_all([job for job in costs if not job.done], 1, advance)
    runs = [one for task in plays if task.done for one in results.load(task.file).runs]
    meta: dict[str, Any] = {
        "windows": options.windows,
        "seeds": options.seeds,
        "landscapes": {name: fingerprint.of_file(options.landscapes / f"{name}.parquet") for name in known},
        "machine": machine(),
        "left_out": left_out,
        "costs": {task.policy: task.result() for task in costs if task.done},
        "cost_observations": options.effort.observations,
        "cost_landscape": where.stem if costs else None,
    }
    ordered = results.in_order(runs, who, [scenario.name for scenario in wanted])
    return Outcome(Results(meta, ordered), skipped, failures)


def _left_out(policies: Sequence[str], known: Mapping[str, Terrain]) -> dict[str, str]:
    """Policies that cannot run here because something they need is not installed, with the reason."""
    space, found = next(iter(known.values())).space, {}
    for name in policies:
        try:
            factory_of(name, known)(space, 0)
        except ModuleNotFoundError as error:
            found[name] = str(error)
    return found
