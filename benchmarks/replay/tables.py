"""Tables of the replay benchmark, each computed from a study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.replay import cells, intervals
from benchmarks.replay.ablations import ABLATIONS
from benchmarks.replay.policies import OURS
from benchmarks.replay.results import SECONDS_BOUNDS
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.study import Study
from benchmarks.replay.tuned_on import TUNED_ON
from benchmarks.replay.world import objective, window_seconds
from benchmarks.statistics import Estimate
from benchmarks.tables import Table, milliseconds
from service.domain.histogram import Histogram

_MEBIBYTE = 1 << 20


def landscapes(study: Study) -> Table:
    """What the recorded landscapes are like."""
    rows = []
    for name, one in study.known.items():
        ratios = one.ratios()
        workload = one.landscape.workload
        rows.append(
            [
                name,
                one.landscape.model,
                f"{workload.rate_per_second:.0f}",
                f"{workload.cv:g}",
                str(len(one.configs)),
                f"{100 * one.landscape.noise(window_seconds(one.landscape.workload)):.1f}",
                milliseconds(one.best_tail),
                milliseconds(float(one.tails[one.start])),
                str(np.count_nonzero(ratios <= 1.05)),
                str(np.count_nonzero(ratios <= 1.2)),
                one.configs[one.best].describe(),
                "tuned on" if name in TUNED_ON else "held out",
            ]
        )
    header = ["landscape", "model", "req/s", "CV", "configurations", "noise of the p99, %", "best p99, ms"]
    header += ["default's p99, ms", "within 5 %", "within 20 %", "best configuration", "constants"]
    return Table("The landscapes", header, rows)


def stationary(study: Study, scenario: Scenario) -> Table:
    """One load: how fast each policy gets near the optimum and what the way costs."""
    horizon = len(scenario.schedule)
    rows = []
    for policy in _ranked(study, scenario.name):
        steps = [study.values(scenario.name, policy, f"{name}") for name in ("settled_5", "settled_20")]
        others = [study.values(scenario.name, policy, f"{name}") for name in ("first_5", "choice_5")]
        rows.append(
            [
                policy,
                *(cells.windows(intervals.median(values), horizon) for values in steps),
                f"{100 * np.isfinite(steps[0]).mean():.0f}",
                *(cells.windows(_bare(intervals.median(values)), horizon) for values in others),
                *_price(study, scenario.name, policy),
                _against_ours(study, scenario.name, policy),
            ]
        )
    header = ["policy", "windows to 5 %", "windows to 20 %", "runs that settle, %", "first touch of 5 %"]
    header += ["choice within 5 %", "regret", "windows in violation", "requests in violation, %", "switches"]
    bound = objective(scenario, study.known)
    return Table(f"{scenario.group} ({bound.describe()})", [*header, f"regret / {OURS}"], rows)


def changes(study: Study, scenario: Scenario) -> Table:
    """A load that changes: what each change costs."""
    sudden = scenario.kind in ("step", "return", "spike")
    longest = max((phase.windows for phase in scenario.phases[1:]), default=0)
    rows = []
    for policy in _ranked(study, scenario.name):
        row = [policy]
        if sudden:
            waits = [study.values(scenario.name, policy, metric) for metric in ("after_settled_5", "after_met")]
            row += [cells.windows(intervals.median(values), longest) for values in waits]
            row.append(cells.number(intervals.mean(study.values(scenario.name, policy, "after_regret"))))
        if scenario.kind == "return":
            back = study.values(scenario.name, policy, "return_5")
            row.append(cells.windows(intervals.median(back), scenario.phases[-1].windows))
        rows.append([*row, *_price(study, scenario.name, policy), _against_ours(study, scenario.name, policy)])
    header = ["policy"]
    if sudden:
        header += ["windows to 5 % after a change", "windows to the objective", "regret of 10 windows after"]
    if scenario.kind == "return":
        header += ["windows to 5 % once the load returns"]
    header += ["regret", "windows in violation", "requests in violation, %", "switches", f"regret / {OURS}"]
    phases = _phases(scenario)
    bound = objective(scenario, study.known)
    return Table(f"{scenario.kind}: {scenario.group} ({bound.describe()})", header, rows, phases)


def ablation(study: Study) -> Table | None:
    """What each part of our policy brings; None where no ablation was run."""
    variants = [name for name in study.results.policies if name in ABLATIONS]
    if not variants or OURS not in study.results.policies:
        return None
    everywhere = [name for name in study.scenarios if set(variants) <= set(study.policies(name))]
    still = [s.name for s in study.of_kind("stationary") if s.name in everywhere]
    rows = []
    for policy in [OURS, *variants]:
        steps = [intervals.median(study.values(name, policy, "settled_5")) for name in still]
        shown = [
            cells.windows(_bare(one), len(study.scenarios[name].schedule))
            for one, name in zip(steps, still, strict=True)
        ]
        factors = [_mean_ratio(study, everywhere, policy, "regret"), _violations(study, everywhere, policy)]
        verdict = "" if policy == OURS else _verdict(factors[0])
        rows.append([policy, *shown, *(cells.times(factor) for factor in factors), verdict])
    header = ["variant", *(f"windows to 5 %, {study.scenarios[name].group}" for name in still)]
    return Table("What each part brings", [*header, "regret", "windows in violation", "the part"], rows)


def costs(study: Study) -> Table:
    """What a suggestion costs in time and memory."""
    rows = []
    measured = study.meta.get("costs", {})
    for policy in (name for name in study.results.policies if name not in ABLATIONS):
        runs = [run for name in study.scenarios for run in study.runs(name).get(policy, [])]
        times = Histogram(SECONDS_BOUNDS, tuple(np.sum([run.seconds for run in runs], axis=0).tolist()))
        cost = measured.get(policy)
        row = [policy, milliseconds(times.quantile(0.5)), milliseconds(times.quantile(0.99))]
        if cost is None:
            row += ["–"] * 4
        else:
            row += [milliseconds(cost["p50_seconds"]), milliseconds(cost["p99_seconds"]), str(cost["suggestions"])]
            row += [f"{cost['peak_bytes'] / _MEBIBYTE:.1f}"]
        rows.append(row)
    header = ["policy", "p50 in the runs, ms", "p99 in the runs, ms"]
    header += [f"p50 at {n} observations, ms" if (n := study.meta.get("cost_observations")) else "p50 alone, ms"]
    header += ["p99 alone, ms", "suggestions timed", "peak memory, MiB"]
    return Table("Time and memory", header, rows)


def _ranked(study: Study, scenario: str) -> list[str]:
    """Policies without the ablations, least regret first."""
    there = [name for name in study.policies(scenario) if name not in ABLATIONS]
    return sorted(there, key=lambda name: float(study.values(scenario, name, "regret").mean()))


def _price(study: Study, scenario: str, policy: str) -> Sequence[str]:
    return [
        cells.number(intervals.mean(study.values(scenario, policy, "regret"))),
        cells.number(intervals.mean(study.values(scenario, policy, "violations"))),
        cells.percent(_bare(intervals.mean(study.values(scenario, policy, "violating")))),
        cells.number(_bare(intervals.mean(study.values(scenario, policy, "switches")))),
    ]


def _against_ours(study: Study, scenario: str, policy: str) -> str:
    if policy == OURS or OURS not in study.policies(scenario):
        return ""
    theirs, ours = (study.values(scenario, name, "regret") for name in (policy, OURS))
    return cells.times(intervals.ratio_of_means(theirs, ours))


def _mean_ratio(study: Study, names: Sequence[str], policy: str, metric: str) -> Estimate:
    theirs, ours = (np.stack([study.values(name, who, metric) for name in names]) for who in (policy, OURS))
    return intervals.mean_ratio(theirs, ours)


def _violations(study: Study, names: Sequence[str], policy: str) -> Estimate:
    """Of all scenarios together: in some of them there are none, and a mean of ratios would say nothing."""
    theirs, ours = (sum(study.values(name, who, "violations") for name in names) for who in (policy, OURS))
    return intervals.ratio_of_means(theirs, ours)


def _verdict(factor: Estimate) -> str:
    if factor.low > 1:
        return "helps"
    return "hurts" if factor.high < 1 else "no difference seen"


def _bare(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value, float("nan"), float("nan"))


def _phases(scenario: Scenario) -> str:
    if scenario.kind == "diurnal":
        return f"Loads: {', '.join(scenario.landscapes)}, in a sinusoidal share of the windows, two days."
    return (
        "Loads: " + ", then ".join(f"{phase.landscape} for {phase.windows} windows" for phase in scenario.phases) + "."
    )
