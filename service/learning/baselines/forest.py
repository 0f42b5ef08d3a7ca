"""Forest: random-forest optimisation with random points in between (as SMAC searches).

Ten trees that split down to single rows, expected improvement without margin on logarithms of the cost, and one point
in five at random: the settings of SMAC3's hyperparameter facade. The scores are logarithms already.
"""

from __future__ import annotations

from service.learning.baselines.model_based import ModelBased
from service.learning.search import TRIALS
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace

#: Points before the first fit.
INITIAL = 10
#: Share of random points afterwards.
RANDOM_SHARE = 0.2
#: Trees.
TREES = 10


def forest(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """The forest as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the first points, the trees and the random points in between.
        trials: Configurations to measure before the best is kept.
    """
    return Searcher(
        "forest",
        space,
        lambda p: ModelBased(
            p,
            "RF",
            initial=INITIAL,
            trials=trials,
            margin=0.0,
            random_share=RANDOM_SHARE,
            n_estimators=TREES,
            min_samples_leaf=1,
        ),
        seed=seed,
    )
