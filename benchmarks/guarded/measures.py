"""Measures: what one run was worth, from what the server did and the truth about every configuration. Pure.

A *window* here is a slot of the schedule, five seconds, whatever windows the loop itself judged. *Broken* requests are
those that clients felt to be slower than the bound, or lost, noise and switches included. *To the objective* and *to
20 %* go by the truth about the configuration in force, as in the replay's tables: windows spent before it stays there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.guarded.play import Played
from benchmarks.guarded.world import SLOT_SECONDS, Stretch
from benchmarks.replay.metrics import Truth, settled
from benchmarks.replay.scenarios import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run in numbers.

    Attributes:
        variant: Its name.
        scenario: Its name.
        seed: Of policy and noise.
        requests: In each window, shape (w,).
        broken: Of them, shape (w,).
        values: By name: ``broken_per_1000`` requests; ``windows`` in which more broke than the objective allows;
            ``worst`` window's broken share; windows ``to_objective`` and ``to_20``, infinite where it never got there;
            ``regret``, Σ ln(p99 / optimum) over windows; ``switches``; ``rollbacks``; ``spike_seconds`` in which a
            switch kept the tail above the bound.
        said: See :class:`benchmarks.guarded.play.Played`.
        closed: Likewise.
    """

    variant: str
    scenario: str
    seed: int
    requests: tuple[int, ...]
    broken: tuple[float, ...]
    values: Mapping[str, float]
    said: Mapping[str, float]
    closed: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; infinity becomes null."""
        return {
            "variant": self.variant,
            "scenario": self.scenario,
            "seed": self.seed,
            "requests": list(self.requests),
            "broken": [round(value, 2) for value in self.broken],
            "values": {name: value if math.isfinite(value) else None for name, value in self.values.items()},
            "said": dict(self.said),
            "closed": dict(self.closed),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        values = {name: math.inf if value is None else value for name, value in raw["values"].items()}
        lists = {name: tuple(raw[name]) for name in ("requests", "broken")}
        return cls(**{**raw, **lists, "values": values})


def measure(variant: str, scenario: Scenario, seed: int, played: Played, truth: Truth) -> Row:
    """All numbers of a run."""
    slots = len(scenario.schedule)
    requests, broken = [0] * slots, [0.0] * slots
    for stretch in played.history:
        requests[stretch.slot] += stretch.requests
        broken[stretch.slot] += stretch.broken
    shares = np.divide(broken, np.maximum(requests, 1))
    path = _in_force(played.history, slots)
    ratios = truth.along(truth.ratios, scenario, path)
    misses = truth.along(truth.broken, scenario, path).astype(bool)
    spent = [
        math.log(truth.ratios[scenario.schedule[one.slot]][one.config]) * one.seconds / SLOT_SECONDS
        for one in played.history
    ]
    values = {
        "broken_per_1000": 1000 * sum(broken) / max(sum(requests), 1),
        "windows": float((shares > 1 - truth.slo.target_ratio).sum()),
        "worst": float(shares.max()),
        "to_objective": settled(~misses),
        "to_20": settled(ratios <= 1.2),
        "regret": sum(spent),
        "switches": float(played.switches),
        "rollbacks": float(played.rollbacks),
        "spike_seconds": sum(one.seconds for one in played.history if one.spoilt),
    }
    return Row(
        variant=variant,
        scenario=scenario.name,
        seed=seed,
        requests=tuple(requests),
        broken=tuple(broken),
        values=values,
        said=played.said,
        closed=played.closed,
    )


def _in_force(history: Sequence[Stretch], slots: int) -> NDArray[np.int16]:
    """Index of the configuration that served most of each slot, shape (slots,)."""
    seconds: list[defaultdict[int, float]] = [defaultdict(float) for _ in range(slots)]
    for stretch in history:
        seconds[stretch.slot][stretch.config] += stretch.seconds
    return np.array([max(one.items(), key=lambda item: item[1])[0] for one in seconds], dtype=np.int16)
