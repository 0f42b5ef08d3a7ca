"""Guide: what TensorFlow Serving's batching guide advises for a CPU, whatever the windows show.

``tensorflow_serving/batching/README.md``: as many batch threads as processors, batch timeout 0, a large batch size. It
gives no numbers for inter-op and intra-op threads, so TensorFlow chooses them.
"""

from __future__ import annotations

from service.domain.serving_config import ServingConfig
from service.learning.search import Problem, Search
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

#: BatchingParameters' own default for max_batch_size; a space has what it has nearest to it.
LARGE_BATCH = 1000


def guide_point(space: ConfigSpace) -> Point:
    """The guide's configuration in this space."""
    cores = max(1, round(space.cpus))
    return space.nearest(
        ServingConfig(enable_batching=True, max_batch_size=LARGE_BATCH, batch_timeout_micros=0, num_batch_threads=cores)
    )


class _Always(Search):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._point = guide_point(problem.space)

    def ask(self) -> Point | None:
        return self._point


def guide(space: ConfigSpace, seed: int = 0) -> Searcher:
    """The guide's configuration as a policy; the seed has no effect."""
    return Searcher("guide", space, _Always, seed=seed)
