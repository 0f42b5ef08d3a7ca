"""Estimates with the uncertainty that a handful of repeats leaves: percentiles, paired ratios, the bootstrap. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

T = TypeVar("T")

#: Two-sided coverage of every interval.
CONFIDENCE = 0.9
RESAMPLES = 2000

#: Fewer repeats than this cannot give such an interval: all of n repeats cover a median in 1 − 2^(1 − n) of all runs.
FEWEST_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the interval around it, which is meant to cover the true one in :data:`CONFIDENCE` of all runs.

    Attributes:
        value: The number.
        low: Lower end of the interval; NaN where there were too few repeats for one.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready; NaN becomes null."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        interval = "" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"


def quantile(values: ArrayLike, q: float) -> float:
    """The smallest of ``values`` that a share ``q`` of them does not exceed; NaN of none."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.quantile(array, q, method="inverted_cdf")) if array.size else float("nan")


def bootstrap(
    groups: Sequence[T], statistic: Callable[[Sequence[T]], float], rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """``statistic`` of the groups, with the percentile interval that drawing whole groups anew gives.

    Fewer than :data:`FEWEST_REPEATS` groups give no interval.

    Args:
        groups: What was repeated independently: rounds, switches. What lies inside a group is kept together.
        statistic: Of a list of groups.
        rng: Draws.
        resamples: How often to draw.

    Raises:
        ValueError: There is no group.
    """
    if not groups:
        raise ValueError("nothing was repeated, so nothing can be estimated")
    if len(groups) < FEWEST_REPEATS:
        return Estimate(statistic(groups), math.nan, math.nan)
    draws = [
        statistic([groups[index] for index in rng.integers(0, len(groups), len(groups))]) for _ in range(resamples)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail]) if np.isfinite(draws).any() else (np.nan, np.nan)
    return Estimate(statistic(groups), float(low), float(high))


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return float(np.median(values))


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float], rng: np.random.Generator) -> Estimate | None:
    """Median over rounds of ours/theirs, each taken within one round: what slows a whole round cancels.

    Args:
        ours: Value of each round.
        theirs: The same of what it is compared with; rounds without a positive value are left out.
        rng: Of the bootstrap over rounds.

    Returns:
        None where no round has both.
    """
    ratios = [ours[index] / theirs[index] for index in sorted(ours.keys() & theirs.keys()) if theirs[index] > 0]
    return bootstrap(ratios, median, rng) if ratios else None
