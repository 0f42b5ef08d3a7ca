"""Calibration: how well configurations of recorded landscapes are foretold that have not been tried.

``python -m benchmarks.calibration [LANDSCAPE.parquet …]``: for each landscape the performance model sees k windows,
first of the default configuration, then of configurations drawn at random, and predicts all others; then the same for
the intervals of the whole learner (:mod:`benchmarks.foresight`). A landscape's own measurements are noisy, so neither
can errors vanish nor rankings be perfect; the data sheets say how noisy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.foresight import shares_held
from benchmarks.landscape import Landscape, Replay, load_all, tails
from benchmarks.progress import Progress
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain, objective, terrain
from benchmarks.tables import Table
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.learning.performance_model import PerformanceModel

Array = NDArray[np.float64]

FOLDER = Path(__file__).parent / "landscapes"
PERCENTILE = 0.99
#: Windows seen before predicting.
STEPS = (1, 3, 5, 10, 20)
#: Particles asked for an interval.
PARTICLES = 16
#: Half the width of a central 90 % interval, in standard deviations.
_Z90 = 1.645


@dataclass(frozen=True, slots=True)
class Score:
    """How well one model with some windows foretold the rest of a landscape.

    Attributes:
        coverage: Share of the true tails inside the 90 % interval of the particles.
        median_error: Median of the absolute error of the logarithm of the tail.
        p90_error: Its 90th percentile.
        rank_correlation: Spearman's, of predicted and true tails.
        best_in_20: Share of the ten truly best among the first 20 predicted.
        best_in_50: Share of the ten truly best among the first 50 predicted.
        first: True tail of the configuration predicted best, over the least of all.
        first_five: Least true tail of the first five predicted, over the least of all.
    """

    coverage: float
    median_error: float
    p90_error: float
    rank_correlation: float
    best_in_20: float
    best_in_50: float
    first: float
    first_five: float


def score(predicted: Array, sigma: Array, true: Array, seen: NDArray[np.bool_]) -> Score:
    """Compare logarithms of tails; errors and coverage over what was not seen, ranks over all. Shapes (n,)."""
    error = np.abs(predicted - true)[~seen]
    order = np.argsort(predicted, kind="stable")
    best = set(np.argsort(true, kind="stable")[:10].tolist())
    return Score(
        coverage=float(np.mean(error <= _Z90 * sigma[~seen])),
        median_error=float(np.median(error)),
        p90_error=float(np.quantile(error, 0.9)),
        rank_correlation=float(np.corrcoef(rankdata(predicted), rankdata(true))[0, 1]),
        best_in_20=len(best & set(order[:20].tolist())) / len(best),
        best_in_50=len(best & set(order[:50].tolist())) / len(best),
        first=float(np.exp(true[order[0]] - true.min())),
        first_five=float(np.exp(true[order[:5]].min() - true.min())),
    )


def calibrate(replay: Replay, seed: int, steps: Sequence[int] = STEPS) -> dict[int, Score]:
    """Scores of one model after each of ``steps`` windows; deterministic by seed."""
    rng = np.random.default_rng(seed)
    configs = replay.configs
    true = np.log(tails(replay, PERCENTILE))
    model = PerformanceModel(float(replay.landscape.sheet["cpus"]), seed=seed)
    start = replay.measured(ServingConfig())
    others = [configs[i] for i in rng.permutation(len(configs)) if configs[i] != start]
    scores: dict[int, Score] = {}
    seen = np.zeros(len(configs), dtype=bool)
    for count, config in enumerate([start, *others][: max(steps)], start=1):
        window = replay.window(config, rng)
        model.observe(window.workload, config, window)
        seen[configs.index(config)] = True
        if count in steps:
            quick = model.predict(replay.workload, configs, PERCENTILE)
            careful = model.predict(replay.workload, configs, PERCENTILE, particles=PARTICLES)
            wide = score(careful.log_tail, careful.sigma, true, seen)
            ranked = score(quick.log_tail, quick.sigma, true, seen)
            scores[count] = Score(
                wide.coverage,
                wide.median_error,
                wide.p90_error,
                *(getattr(ranked, field.name) for field in fields(Score)[3:]),
            )
    return scores


def table(name: str, runs: Iterable[dict[int, Score]]) -> Table:
    """Medians over runs, coverage as a mean; the last column also holds the 90th percentile."""
    several = list(runs)
    rows = []
    for step in several[0]:
        column = {field.name: np.array([getattr(run[step], field.name) for run in several]) for field in fields(Score)}
        middle = {key: float(np.median(values)) for key, values in column.items()}
        rows.append(
            [
                str(step),
                f"{column['coverage'].mean():.0%}",
                f"{middle['median_error']:.2f}",
                f"{middle['p90_error']:.2f}",
                f"{middle['rank_correlation']:.2f}",
                f"{column['best_in_20'].mean():.0%}",
                f"{column['best_in_50'].mean():.0%}",
                f"{middle['first']:.2f}",
                f"{middle['first_five']:.2f}",
                f"{np.quantile(column['first_five'], 0.9):.2f}",
            ]
        )
    header = (
        "windows", "in the particles' 90 % interval", "error, median", "p90", "rank corr.", "best 10 in 20", "in 50",
        "first / optimum", "best of 5", "its p90",
    )  # fmt: skip
    return Table(name, header, rows)


def foretold(land: Terrain, slo: Slo, seeds: int, steps: Sequence[int], progress: Progress) -> Table:
    """Shares of the truths inside the learner's intervals, means over seeds."""
    rows = [[str(step)] for step in steps]
    for own in (False, True):
        runs = []
        for seed in range(seeds):
            progress.begin(f"{land.landscape.name}, the learner's intervals, seed {seed}")
            runs.append(shares_held(land, slo, seed, steps, own=own))
            progress.done()
        for row, step in zip(rows, steps, strict=True):
            row.append(f"{np.mean([run[step] for run in runs]):.0%}")
    header = ("windows", "drawn at random: in the learner's 90 % interval", "of its own search")
    return Table(f"{land.landscape.name}: what the learner says", header, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each landscape."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("landscape", nargs="*", type=Path, help="files; default: all of benchmarks/landscapes")
    parser.add_argument("--seeds", type=int, default=10, help="models for each landscape")
    parser.add_argument("--window-seconds", type=float, default=2.0, help="length of a window")
    options = parser.parse_args(arguments)
    found: dict[str, Landscape] = {}
    for folder in {path.parent for path in options.landscape} or {FOLDER}:
        found |= load_all(folder)
    names = [path.stem for path in options.landscape] or list(found)
    # Once for the performance model, twice for the learner.
    progress = Progress(3 * len(names) * options.seeds)
    for name in names:
        replay = Replay(found[name], options.window_seconds)
        runs = []
        for seed in range(options.seeds):
            progress.begin(f"{name}, the performance model, seed {seed}")
            runs.append(calibrate(replay, seed))
            progress.done()
        sys.stdout.write(table(f"{name}: {len(replay.configs)} configurations", runs).markdown() + "\n")
        land = terrain(found[name])
        slo = objective(Scenario("stationary", name, (name,)), {name: land})
        sys.stdout.write(foretold(land, slo, options.seeds, STEPS, progress).markdown() + "\n")
    progress.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
