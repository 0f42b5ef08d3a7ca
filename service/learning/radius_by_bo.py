"""The other reading of "Bayesian optimisation balances convergence and optimality": it chooses the region's radius.

The papers do not say what exactly their adaptive RRL tunes (``docs/learning.md``). Here the radius is the variable of a
one-dimensional Bayesian optimisation whose reward is what the trial brought: by how much it fell below the best score
before it. A large ball converges fast while there is much to gain; a small one finds the optimum at the end. Rewards
are compared within the newest trials only, because early ones were easier to earn.

Like :mod:`service.learning.regions` it holds no state: the radii of all trials are found again from their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from skopt.acquisition import gaussian_ei
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

from service.learning.regions import MAX_RADIUS, MIN_RADIUS, START_RADIUS, Region

#: Radii to choose from, in grid steps: each adds a shell of the six-knob lattice.
RADII = (MIN_RADIUS, 1.5, 2.0, START_RADIUS, MAX_RADIUS)
#: Trials whose rewards are looked at.
MEMORY = 12
#: Standard deviation of a reward beside what the radius explains, relative to that.
_NOISE = 0.5


def radius_by_bo(scores: Sequence[float]) -> Region:
    """The region after trials with these scores, in the order in which they were first made."""
    radii: list[float] = []
    rewards: list[float] = []
    best = float("inf")
    for score in scores:
        if best < float("inf"):
            radii.append(_next_radius(tuple(radii[-MEMORY:]), tuple(rewards[-MEMORY:])))
            rewards.append(max(best - score, 0.0))
        best = min(best, score)
    return Region(_next_radius(tuple(radii[-MEMORY:]), tuple(rewards[-MEMORY:])))


@lru_cache(maxsize=1024)  # the same prefix of trials is asked for after each window
def _next_radius(radii: tuple[float, ...], rewards: tuple[float, ...]) -> float:
    if not radii:
        return START_RADIUS
    recent = np.array(rewards)
    scale = float(recent.std()) or 1.0
    kernel = ConstantKernel(1.0, "fixed") * Matern(1.5, "fixed", nu=2.5)
    gp = GaussianProcessRegressor(kernel=kernel, alpha=_NOISE**2, optimizer=None)
    # Expected improvement minimises.
    targets = (recent.mean() - recent) / scale
    gp.fit(_column(radii), targets)
    gains: NDArray[np.float64] = gaussian_ei(_column(RADII), gp, y_opt=float(targets.min()), xi=0.0)
    return RADII[int(gains.argmax())]


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=float)[:, None]
