"""Runs that were never made, for what is computed from runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.live.plan import Cell, Turn
from benchmarks.live.results import Results

HEADER: Mapping[str, Any] = {
    "model": "mlp",
    "seconds": 6.0,
    "seed": 0,
    "loop": {"window_seconds": 2.5},
    "capacity_per_second": 1000.0,
    "trace": None,
    "timeout_seconds": 10.0,
    "max_in_flight": 4096,
    "attempts": 3,
    "machine": {
        "processor": "a processor",
        "cpus": 2,
        "python": "3.11",
        "tensorflow": "2.21",
        "load_average_before": 0.1,
    },
}


def outcome(p99: float, violations: float, **changes: Any) -> dict[str, Any]:
    """What a run may have shown."""
    return {
        "lost": {},
        "p50": p99 / 4,
        "p99": p99,
        "p99_thirds": [p99, p99, p99 / 2],
        "violation_ratio": violations,
        "met_after": 3.0,
        "windows": 5,
        "suggestion_p99": 0.02,
        "switches": [[1.0, "batch≤8", "explore", 0.1]],
        "foreign_cpu_share": 0.01,
        "p99_by_second": [p99] * 6,
        **changes,
    }


def filled(path: Path, repeats: int = 6) -> Results:
    """A file in which ours has a tenth of the default's p99 and a fifth of its violations in ``step``, half in all."""
    results = Results(path)
    results.begin(HEADER)
    for cell in (Cell("step", 60), Cell("gamma", 60)):
        results.bound(cell, 0.05, {"batch≤8": 0.025})
        for repeat in range(repeats):
            slow = 1.0 + repeat / 10
            ours = 0.1 if cell.schedule == "step" else 0.4
            results.add(Turn(repeat, cell, "default"), outcome(slow, 0.5, switches=[], met_after=None))
            results.add(Turn(repeat, cell, "adaptive_rrl"), outcome(ours * slow, 0.1))
    return results
