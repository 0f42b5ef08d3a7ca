"""Searcher: runs a search algorithm as a policy; what the rivals share, so that each is its algorithm and little else.

Rules that hold for all of them:

- What is minimised is :class:`service.learning.objective.Objective`'s score: meet the SLO first, then lower the tail.
- Windows of the same configuration under the same load are averaged.
- A search belongs to one load. When the load becomes another one (:meth:`service.learning.context.Context.same_load`)
  the search starts over, from what is in force at that moment, because none of these algorithms knows of loads and what
  was measured under another one would mislead it. A single odd window does not end a search: if the window after it
  shows the earlier load again, the earlier search goes on.
- When the algorithm names no next configuration, or trials are not allowed, the best measured one is named.
- A search that has seen ``max_windows`` windows starts over too: memory stays bounded, and what was measured that long
  ago may no longer hold.

State is a function of the windows observed, in their order. An algorithm is told each window once and its answer must
depend on nothing else, so that asking twice changes nothing and a replay gives the same state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from service.domain.decision import Intent, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning import explain
from service.learning.context import Context
from service.learning.history import Measurement
from service.learning.objective import Objective
from service.learning.search import Known, Problem, Search, Visit
from service.learning.space import ConfigSpace, Point

#: Windows of one search at most.
MAX_WINDOWS = 4096
#: Standard deviation of the score of a configuration that was not measured, at least: a factor of two either way.
UNKNOWN_SIGMA = 0.7


class _Progress:
    """A search under one objective, and how far in the windows of its load it is."""

    def __init__(self, problem: Problem, search: Search) -> None:
        self.search = search
        self.known = problem.known
        self.objective = Objective(problem.slo)
        self._told = 0
        self._answer: tuple[int, Point | None] | None = None

    def catch_up(self, visits: list[Visit]) -> None:
        """Tell the search what it has not been told yet."""
        for visit in visits[self._told :]:
            score = self.objective.score(visit.measurement)
            self.known.add(visit.point, score)
            self.search.tell(visit, score.value)
        self._told = len(visits)

    def next_point(self) -> Point | None:
        """The search's answer, asked for once after each window."""
        if self._answer is None or self._answer[0] != self._told:
            self._answer = self._told, self.search.ask()
        return self._answer[1]


@dataclass(slots=True)
class _Episode:
    """The windows of one load, and the newest objective's search in them."""

    context: Context
    start: Point
    visits: list[Visit] = field(default_factory=list)
    progress: tuple[Slo, _Progress] | None = None


class Searcher:
    """A policy round a search algorithm; the module's docstring says how.

    Args:
        name: The policy's name.
        space: Where configurations come from.
        begin: Starts the algorithm on a problem.
        seed: Seeds the algorithm.
        restarts: Whether the search starts over when the load changes.
        max_windows: Windows after which it starts over anyway.
    """

    def __init__(
        self,
        name: str,
        space: ConfigSpace,
        begin: Callable[[Problem], Search],
        *,
        seed: int = 0,
        restarts: bool = True,
        max_windows: int = MAX_WINDOWS,
    ) -> None:
        self.name = name
        self._space = space
        self._begin = begin
        self._seed = seed
        self._restarts = restarts
        self._max_windows = max_windows
        self._episodes: list[_Episode] = []  # the present load's last; before it, for one window, the load before

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        """Learn from a window; one that may not be judged, or that holds no request, teaches nothing."""
        if not window.usable or window.latency.count + window.rejected + window.failed == 0:
            return
        context, point = Context.of(workload), self._space.nearest(config)
        episode = self._episode(context)
        if episode is None or len(episode.visits) >= self._max_windows:
            kept = self._episodes[-1:] if episode is None else []
            episode = _Episode(context, point)
            self._episodes = [*kept, episode]
        else:
            self._episodes = [episode]
        if self._space.config(point) == config:
            measurement = Measurement(window.latency, window.loss_ratio, None, len(episode.visits))
            episode.visits.append(Visit(point, context, measurement, window.queueing))

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        """What the search measures next under this load; when it measures no more, the best it knows."""
        progress = self._progress(workload, slo)
        if progress is None:
            return self._unknown(workload, incumbent, explore=explore)
        count = len(progress.known)
        point = progress.next_point() if explore else None
        if point is not None:
            intent = Intent.EXPLOIT if point in progress.known else Intent.EXPLORE
            said = f"{self.name} runs {{}} next; configurations measured under this load: {count}"
            return self._named(workload, incumbent, self._space.config(point), intent, said, progress)
        point = progress.search.best()
        if point is None:
            return self._unknown(workload, incumbent, explore=explore)
        here = self._point(incumbent)
        if here is not None and here in progress.known and progress.known.mean(here) == progress.known.mean(point):
            point = here
        said = f"{{}} is the best of the configurations that {self.name} measured under this load: {count}"
        return self._named(workload, incumbent, self._space.config(point), Intent.EXPLOIT, said, progress)

    def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        """What was measured of this configuration; of another, no more than how configurations do on the whole."""
        progress = self._progress(workload, slo)
        if progress is None or not len(progress.known):
            why = f"nothing has been measured under this load, so nothing is known of {config.describe()}"
            return Recommendation(config=config, intent=Intent.STAY, explanation=why, workload=workload)
        point = self._point(config)
        told = (
            f"measured in {explain.windows(progress.known.windows(point))}"
            if point is not None and point in progress.known
            else "not measured: what configurations under this load do on the whole"
        )
        return self._named(workload, config, config, Intent.STAY, f"{{}}: {told}", progress)

    def _episode(self, context: Context) -> _Episode | None:
        for episode in reversed(self._episodes):
            if not self._restarts or episode.context.same_load(context):
                return episode
        return None

    def _progress(self, workload: Workload, slo: Slo) -> _Progress | None:
        episode = self._episode(Context.of(workload))
        if episode is None:
            return None
        if episode.progress is None or episode.progress[0] != slo:
            problem = Problem(self._space, self._seed, slo, episode.start, Known())
            episode.progress = slo, _Progress(problem, self._begin(problem))
        progress = episode.progress[1]
        progress.catch_up(episode.visits)
        return progress

    def _point(self, config: ServingConfig) -> Point | None:
        """The grid point of a configuration of the space; None for others."""
        point = self._space.nearest(config)
        return point if self._space.config(point) == config else None

    def _unknown(self, workload: Workload, incumbent: ServingConfig, *, explore: bool) -> Recommendation:
        if explore and not self._space.admits(incumbent):
            nearest = self._space.config(self._space.nearest(incumbent))
            why = f"{incumbent.describe()} is outside the allowed bounds; {nearest.describe()} is the nearest inside"
            return Recommendation(config=nearest, intent=Intent.EXPLORE, explanation=why, workload=workload)
        why = f"nothing has been measured under this load; {incumbent.describe()} stays until a window shows more"
        return Recommendation(config=incumbent, intent=Intent.STAY, explanation=why, workload=workload)

    def _named(
        self,
        workload: Workload,
        incumbent: ServingConfig,
        config: ServingConfig,
        intent: Intent,
        said: str,
        progress: _Progress,
    ) -> Recommendation:
        """A recommendation with what is known of its configuration; ``said`` has a place for its description."""
        known, point = progress.known, self._point(config)
        if point is not None and point in known:
            mean, sigma = known.mean(point), known.sigma(point)
        elif len(known):
            means = [known.mean(one) for one in known]
            mean = sum(means) / len(means)
            sigma = max(math.sqrt(sum((m - mean) ** 2 for m in means) / len(means)), UNKNOWN_SIGMA)
        else:
            mean, sigma = math.nan, math.inf
        return Recommendation(
            config=config,
            intent=Intent.STAY if config == incumbent else intent,
            explanation=said.format(config.describe()),
            workload=workload,
            predicted_tail=progress.objective.interval(mean, sigma) if len(known) else None,
            confidence=explain.confidence(sigma),
        )
