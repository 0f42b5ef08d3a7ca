"""CherryPick: Bayesian optimisation with a Gaussian process that stops as soon as little is left to gain.

As published: Matérn 5/2, expected improvement, three first points apart from each other, and an end when, with at least
six configurations measured, the highest expected improvement is below 10 %. Here the first three are the configuration
in force and two at random.
"""

from __future__ import annotations

from service.learning.baselines.model_based import ModelBased
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace

#: Points before the first fit.
INITIAL = 3
#: Points before which it does not stop.
LEAST_SAMPLES = 6
#: Expected improvement below which it stops, relative.
LEAST_GAIN = 0.1


def _enough(count: int, gain: float) -> bool:
    return count >= LEAST_SAMPLES and gain < LEAST_GAIN


def cherrypick(space: ConfigSpace, seed: int = 0) -> Searcher:
    """CherryPick as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the first points and the fits.
    """
    return Searcher(
        "cherrypick",
        space,
        lambda p: ModelBased(
            p, "GP", initial=INITIAL, trials=len(p.space), margin=0.0, enough=_enough, n_restarts_optimizer=0
        ),
        seed=seed,
    )
