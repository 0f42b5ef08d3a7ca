"""Ensemble: particles that stand for what is believed of some parameters, moved by ensemble Kalman inversion.

Where the likelihood's gradient is out of reach (it would go through a simulation), the ensemble's own covariances take
its place: each particle moves by the regression of its parameters on what it predicts (Iglesias, Law and Stuart,
Inverse Problems 29, 2013). An observation is assimilated in several small steps, each with its share of the
information, which bends the straight line of one regression into a curve (Emerick and Reynolds, Computers &
Geosciences 55, 2013). Notation: k particles, p standard parameters (prior N(0, 1)), m observed numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Predict = Callable[[Array], Array]
"""From parameters, shape (k, p), to what they predict, shape (k, m)."""

#: Shares of an observation's information in the steps of one update; they sum to 1.
STEPS = (0.15, 0.3, 0.55)
#: Share of the spread lost in an update that is given back: few particles underestimate what they do not know, and a
#: machine drifts (relaxation to prior spread, Whitaker and Hamill, Monthly Weather Review 140, 2012).
RELAXATION = 0.15
#: Standard deviation of the random walk of the standard parameters from one observation to the next.
DRIFT = 0.03
#: No particle is further than this from the prior's mean.
_BOUND = 4.0


class Ensemble:
    """See the module's docstring.

    Args:
        parameters: How many.
        particles: How many.
        rng: Draws particles and perturbations.
    """

    def __init__(self, parameters: int, particles: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self.particles: Array = _centred(rng.standard_normal((particles, parameters)))

    @property
    def mean(self) -> Array:
        """Mean of the particles, shape (1, p)."""
        centre: Array = self.particles.mean(axis=0, keepdims=True)
        return centre

    def start_from(self, candidates: Array, log_likelihood: Array) -> None:
        """Replace the particles by draws from weighted candidates (importance resampling), spread a little.

        Args:
            candidates: Draws from the prior, shape (c, p).
            log_likelihood: Of each, shape (c,).
        """
        count, parameters = self.particles.shape
        weights = np.exp(log_likelihood - log_likelihood.max())
        weights /= weights.sum()
        positions = (np.arange(count) + self._rng.random()) / count
        chosen = candidates[np.searchsorted(np.cumsum(weights), positions).clip(max=len(candidates) - 1)]
        # Silverman's rule: the width at which a sample of this size is best smoothed.
        width = (4 / (parameters + 2) / count) ** (1 / (parameters + 4))
        centre = chosen.mean(axis=0)
        shrink = np.sqrt(1 - min(width, 0.9) ** 2)
        noise = _centred(self._rng.standard_normal(chosen.shape))
        spread = np.maximum(chosen.std(axis=0), 0.2)
        self.particles = centre + shrink * (chosen - centre) + width * spread * noise

    def update(self, predict: Predict, observed: Array, covariance: Array) -> None:
        """Take an observation in.

        Args:
            predict: What particles would have seen.
            observed: What was seen, shape (m,).
            covariance: Of its errors, shape (m, m).
        """
        drift = _centred(self._rng.standard_normal(self.particles.shape))
        self.particles = (self.particles + DRIFT * drift).clip(-_BOUND, _BOUND)
        before = self.particles.std(axis=0)
        for share in STEPS:
            self._step(predict(self.particles), observed, covariance / share)
        after = self.particles.std(axis=0)
        wider = 1 + RELAXATION * np.maximum(before - after, 0.0) / np.maximum(after, 1e-9)
        centre = self.particles.mean(axis=0)
        self.particles = (centre + np.minimum(wider, 2.0) * (self.particles - centre)).clip(-_BOUND, _BOUND)

    def _step(self, predicted: Array, observed: Array, covariance: Array) -> None:
        count = len(self.particles)
        seen = predicted - predicted.mean(axis=0)
        own = self.particles - self.particles.mean(axis=0)
        cross = own.T @ seen / (count - 1)
        total = seen.T @ seen / (count - 1) + covariance
        draws = _centred(self._rng.standard_normal(predicted.shape))
        perturbed = observed + draws @ np.linalg.cholesky(covariance).T
        self.particles = self.particles + np.linalg.solve(total, (perturbed - predicted).T).T @ cross.T


def _centred(draws: Array) -> Array:
    centred: Array = draws - draws.mean(axis=0)
    return centred
