"""scikit-optimize as one would use it first: a Gaussian process or extra trees, no priors, ten random points to begin.

Its default acquisition is a portfolio of three that learns which to trust; with tens of trials there is little to
learn, so here it is one of them, expected improvement with its default margin. The Gaussian process's likelihood is
climbed once in place of three times: a suggestion's time is part of the comparison.
"""

from __future__ import annotations

from service.learning.baselines.model_based import ModelBased
from service.learning.search import TRIALS
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace

#: scikit-optimize's ``n_initial_points``.
INITIAL = 10


def skopt_gp(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """The Gaussian process as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the first points and the fits.
        trials: Configurations to measure before the best is kept.
    """
    return Searcher(
        "skopt_gp",
        space,
        lambda p: ModelBased(p, "GP", initial=INITIAL, trials=trials, n_restarts_optimizer=0),
        seed=seed,
    )


def skopt_et(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """Extra trees as a policy; arguments as of :func:`skopt_gp`."""
    return Searcher("skopt_et", space, lambda p: ModelBased(p, "ET", initial=INITIAL, trials=trials), seed=seed)
