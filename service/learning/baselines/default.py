"""Default: TensorFlow Serving as it comes. It never moves, unless what is in force is not allowed."""

from __future__ import annotations

from service.domain.decision import Intent, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.learning.search import Search
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point


class _Nothing(Search):
    def ask(self) -> Point | None:
        return None


class Default(Searcher):
    """Keeps what is in force, which is the server's default where nobody changed it.

    Args:
        space: Where configurations come from.
        seed: Without effect.
    """

    def __init__(self, space: ConfigSpace, *, seed: int = 0) -> None:
        super().__init__("default", space, lambda problem: _Nothing(problem), seed=seed)

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        """The incumbent."""
        if explore and not self._space.admits(incumbent):
            return self._unknown(workload, incumbent, explore=explore)
        kept = self.predict(workload, incumbent, slo)
        return Recommendation(
            config=incumbent,
            intent=Intent.STAY,
            explanation=f"{incumbent.describe()} is kept: this policy never moves",
            workload=workload,
            predicted_tail=kept.predicted_tail,
            confidence=kept.confidence,
        )
