"""Oracle: knows the truth and names the best configuration at once. The mark that the others are measured against."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from service.domain.decision import Intent, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.learning.baselines.random_search import Shuffled
from service.learning.context import Context
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace

Truth = Callable[[Workload, ServingConfig], float]
"""The true tail latency of a configuration under a load, seconds; lost requests count as slowest."""

#: Loads whose best configuration is remembered.
_REMEMBERED = 32


class Oracle(Searcher):
    """Looks at the true tail of every configuration and picks the least.

    Args:
        space: Where configurations come from.
        truth: The true tail, which measuring cannot know.
        seed: Without effect.
    """

    def __init__(self, space: ConfigSpace, truth: Truth, *, seed: int = 0) -> None:
        super().__init__("oracle", space, Shuffled, seed=seed)
        self._truth = truth
        self._found: deque[tuple[Context, ServingConfig]] = deque(maxlen=_REMEMBERED)

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        """The truly best configuration; without trials, the best of those measured."""
        if not explore:
            return super().suggest(workload, incumbent, slo, explore=False)
        best = self._best(workload)
        expected = self.predict(workload, best, slo)
        return Recommendation(
            config=best,
            intent=Intent.STAY if best == incumbent else Intent.EXPLOIT,
            explanation=f"{best.describe()} is the best of all {len(self._space)} configurations under this load",
            workload=workload,
            predicted_tail=expected.predicted_tail,
            confidence=expected.confidence,
        )

    def _best(self, workload: Workload) -> ServingConfig:
        context = Context.of(workload)
        for known, best in self._found:
            if known.same_load(context):
                return best
        best = min(self._space, key=lambda config: self._truth(workload, config))
        self._found.append((context, best))
        return best
