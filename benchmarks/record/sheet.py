"""The data sheet beside a landscape, for people: what was measured, on what, and how noisy it is."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.landscape import Landscape, load


def write_sheet(path: Path) -> Path:
    """Write ``NAME.md`` beside the landscape ``path`` and return where."""
    sheet = path.with_suffix(".md")
    sheet.write_text(text_of(load(path)), encoding="utf-8")
    return sheet


def text_of(landscape: Landscape) -> str:
    """The data sheet as Markdown."""
    sheet, noise = landscape.sheet, landscape.sheet["noise"]
    workload = landscape.workload
    tails, estimate = landscape.tails(), sheet["estimate"]
    order = sorted(tails, key=lambda config: tails[config])
    best = tails[order[0]]
    machine = sheet["machine"]
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(sheet["started_at"]))
    foreign = sorted(m.foreign_cpu_share for m in landscape.measurements)
    lines = [
        f"# Landscape {landscape.name}",
        "",
        f"Made by `regulus bench record` ({when}); columns are described in `benchmarks/README.md`.",
        "",
        "| | |",
        "|---|---|",
        f"| model | {landscape.model} |",
        f"| load | {workload.rate_per_second:.0f} requests/s, CV {workload.cv:g}, {sheet['load']:.0%} of capacity |",
        f"| capacity of the best of some likely configurations | {landscape.capacity_per_second:.0f} requests/s |",
        f"| configurations | {len(tails)} |",
        f"| measurements | {len(landscape.measurements)}, {sheet['measured_seconds']:.0f} s in all |",
        f"| first window | {sheet['window_seconds']:g} s after {sheet['lead_seconds']:g} s that are not counted |",
        f"| machine | {machine['processor']}, {machine['cpus']} processors, client on the same machine |",
        f"| versions | {', '.join(f'{k} {v}' for k, v in sheet['versions'].items())}, Python {machine['python']} |",
        f"| others' share of the machine | median {foreign[len(foreign) // 2]:.1%}, most {foreign[-1]:.1%} |",
    ]
    lines += [
        f"| noise of the p99 of {row['seconds']:.1f} s (standard deviation of its logarithm) "
        f"| {row['total_sigma']:.3f}; the number of requests explains {row['sampling_sigma']:.3f}, "
        f"the rest is {row['extra_sigma']:.3f} ({row['configs']} configurations) |"
        for row in noise
    ]
    lines += [
        f"| the machine's drift over the recording (likewise) | {estimate['drift_sigma']:.3f} |",
        f"| a window's noise beside the drift (likewise) | {estimate['window_sigma']:.3f} |",
        f"| error of the estimated p99 (likewise) | {estimate['error_sigma']:.3f} |",
        "",
        "The p99 below are estimates, freed from drift and luck: `benchmarks/record/estimate.py` says how.",
    ]
    lines += ["", "| p99 against the least | configurations |", "|---|---|"]
    for factor in (1.05, 1.2, 1.5, 2.0, 5.0):
        lines.append(f"| within {factor:g} × | {sum(tail <= factor * best for tail in tails.values())} |")
    lines += ["", "| the best | p99 |", "|---|---|"]
    lines += [f"| {config.describe()} | {tails[config] * 1e3:.1f} ms |" for config in order[:10]]
    default = [config for config in tails if not config.enable_batching]
    lines += [f"| {config.describe()} | {tails[config] * 1e3:.1f} ms |" for config in default]
    return "\n".join(lines) + "\n"
