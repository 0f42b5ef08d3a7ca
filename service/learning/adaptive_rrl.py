"""AdaptiveRRL: region-based reinforcement learning with Bayesian optimisation inside the region.

What is kept of RRL (Swift ML model serving scheduling, SC'19, and its published artefact): a contextual bandit over the
grid of configurations, the load as its context, and a ball of grid points round the best known configuration as the
place to look. What is ours: the ball adapts (:mod:`service.learning.regions`), the estimator is a Gaussian process
that knows how little it knows (:mod:`service.learning.surrogate`), staying is free and switching is not, and while the
objective is met only configurations predicted to meet it are tried.

A suggestion, in order:

1. The incumbent is outside the allowed bounds: move to the nearest allowed configuration.
2. The objective is violated and a configuration is known that meets it, or the load is one seen before that has just
   come back: the best measured configuration, without trials.
3. Nothing meets the objective yet: try the seed points, then what is most worth trying in the region.
4. Something meets it: try what is most worth trying among the region's points and the seeds that are predicted to meet
   it, for as long as anything is worth it.
5. Otherwise the best measured configuration, when it is clearly better than the incumbent; else stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from service.domain.decision import Intent, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning import explain
from service.learning.context import Context
from service.learning.features import knobs
from service.learning.history import History
from service.learning.performance_model import PerformanceModel
from service.learning.radius_by_bo import radius_by_bo
from service.learning.regions import Region, promises_kept
from service.learning.seeds import seed_points
from service.learning.space import ConfigSpace
from service.learning.surrogate import Array, Belief, Posterior, Row, posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How eager the policy is. Gains are relative differences of tail latency.

    Attributes:
        switch_gain: What going back to a configuration already measured must promise while the objective is met.
        horizon: Windows for which what a trial finds is expected to be of use: its gain counts so many times, its
            cost once.
        switch_cost: What a switch costs, as a rise of the tail over one window; a trial may need two.
        safety_sigmas: Standard deviations by which a trial must be predicted to meet the objective while it is met.
        stale_sigma: A configuration measured under the load is tried again when its score has become as uncertain as
            this (relative error of the tail), by a thin window or by age.
        region: Where a trial is sought: in a ball whose radius follows success (``adaptive``), that keeps RRL's radius
            (``fixed``), whose radius Bayesian optimisation chooses (``by_bo``), or everywhere (``whole``).
        gain: What a trial is expected to gain: the difference of the expected scores (``expected``), or also what one
            more window may teach (``knowledge_gradient``).
        performance_model: Whether the performance model says what to expect beforehand; else rules of thumb.
        context: Whether what was learnt under other loads counts; else each change of load begins anew.

    The last four are for the ablation of ``docs/benchmarks.md``; the defaults are what it found best.
    """

    switch_gain: float = 0.05
    horizon: float = 30.0
    switch_cost: float = 0.05
    safety_sigmas: float = 0.5
    stale_sigma: float = 0.25
    region: Literal["adaptive", "fixed", "by_bo", "whole"] = "adaptive"
    gain: Literal["expected", "knowledge_gradient"] = "expected"
    performance_model: bool = True
    context: bool = True


@dataclass(frozen=True, slots=True)
class _Known:
    """A configuration with what is believed of its score: mean and standard deviation."""

    config: ServingConfig
    mean: float
    sigma: float

    def clearly_worse_than(self, other: _Known, gain: float) -> bool:
        """Whether ``other`` is better by ``gain`` and by more than half the uncertainty of the comparison."""
        return self.mean - other.mean >= max(gain, 0.5 * math.hypot(self.sigma, other.sigma))


@dataclass(frozen=True, slots=True)
class _View:
    """What one suggestion looks at.

    Attributes:
        best: The best configuration measured under this load; where none of those meets the objective, under any load.
        just_returned: Whether the load was seen before and has just come back.
        tried: What was measured under this load, as far as the beliefs rest on it.
        measured_here: All that is remembered as measured under this load.
    """

    workload: Workload
    slo: Slo
    beliefs: Posterior
    incumbent: _Known
    best: _Known | None
    just_returned: bool
    tried: Mapping[ServingConfig, Row]
    measured_here: frozenset[ServingConfig]

    @property
    def met(self) -> bool:
        """Whether a configuration is known that meets the objective more likely than not."""
        return self.best is not None and self.best.mean <= 0


class AdaptiveRRL:
    """The service's policy; see the module's docstring.

    Args:
        space: Where configurations come from.
        seed: Orders points that are equally good.
        tuning: How eager it is.
    """

    name = "adaptive_rrl"

    def __init__(self, space: ConfigSpace, *, seed: int = 0, tuning: Tuning | None = None) -> None:
        self._space = space
        self._seed = seed
        self._tuning = tuning or Tuning()
        self._begin()
        self._observed = 0
        self._latest: tuple[tuple[int, Context, Slo], Posterior] | None = None
        self._configs = tuple(space)
        self._position = {config: i for i, config in enumerate(self._configs)}
        self._knobs = knobs(self._configs, space.cpus)
        self._seeds = tuple(self._position[space.config(point)] for point in seed_points(space))

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        """Learn from a window; one that may not be judged, or that holds no request, teaches nothing."""
        if not window.usable or window.latency.count + window.rejected + window.failed == 0:
            return
        context = Context.of(workload)
        if not self._tuning.context and self._history.cluster(context) is None:
            self._begin()
        self._history.add(context, config, window)
        if self._model is not None:
            self._model.observe(workload, config, window)
        self._observed += 1

    def _begin(self) -> None:
        self._history = History()
        self._model = PerformanceModel(self._space.cpus, seed=self._seed) if self._tuning.performance_model else None

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        """What to run under this load; the module's docstring says how it is chosen."""
        if explore and not self._space.admits(incumbent):
            return self._move_inside(workload, incumbent, slo)
        view = self._view(workload, incumbent, slo)
        if view is None:
            why = f"nothing has been measured yet; {incumbent.describe()} stays until a window shows how it does"
            return Recommendation(config=incumbent, intent=Intent.STAY, explanation=why, workload=workload)
        chosen = self._trial(view) if explore and not self._return_first(view) else None
        return chosen or self._best_or_stay(view)

    def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        """What is expected of one configuration under this load."""
        view = self._view(workload, config, slo)
        if view is None:
            why = f"nothing has been measured yet, so nothing is known of {config.describe()}"
            return Recommendation(config=config, intent=Intent.STAY, explanation=why, workload=workload)
        return self._recommend(view, view.incumbent, Intent.STAY, f"{self._prospect(view, view.incumbent)}")

    # What is believed

    def _view(self, workload: Workload, incumbent: ServingConfig, slo: Slo) -> _View | None:
        if not len(self._history):
            return None
        context = Context.of(workload)
        beliefs = self._posterior(context, slo)
        tried = {row.trial.config: row for row in beliefs.rows if row.here}
        measured = [
            config for config in dict.fromkeys(row.trial.config for row in beliefs.rows) if config in self._position
        ]
        belief = beliefs.belief([incumbent, *measured])
        asked, *known = (
            _Known(config, float(mean), float(sigma))
            for config, mean, sigma in zip([incumbent, *measured], belief.mean, belief.sigma, strict=True)
        )
        here = [one for one in known if one.config in tried]
        if any(one.mean <= 0 for one in here):
            known = here
        cluster = self._history.cluster(context)
        return _View(
            workload=workload,
            slo=slo,
            beliefs=beliefs,
            incumbent=asked,
            best=min(known, key=lambda one: one.mean + 0.5 * one.sigma, default=None),
            just_returned=cluster is not None and cluster.just_returned,
            tried=tried,
            measured_here=frozenset(cluster.trials) if cluster is not None else frozenset(),
        )

    def _posterior(self, context: Context, slo: Slo) -> Posterior:
        """The posterior, computed once for as long as neither history nor question changes."""
        key = (self._observed, context, slo)
        if self._latest is None or self._latest[0] != key:
            self._latest = key, posterior(self._history, context, slo, self._space.cpus, self._model)
        return self._latest[1]

    # Steps of a suggestion, as numbered in the module's docstring

    def _move_inside(self, workload: Workload, incumbent: ServingConfig, slo: Slo) -> Recommendation:
        nearest = self._space.config(self._space.nearest(incumbent))
        why = f"{incumbent.describe()} is outside the allowed bounds; {nearest.describe()} is the nearest inside"
        view = self._view(workload, nearest, slo)
        if view is None:
            return Recommendation(config=nearest, intent=Intent.EXPLORE, explanation=why, workload=workload)
        intent = Intent.EXPLOIT if nearest in view.tried else Intent.EXPLORE
        return self._recommend(view, view.incumbent, intent, why)

    def _return_first(self, view: _View) -> bool:
        """Whether this is no time for trials: the best known is the answer."""
        best, incumbent = view.best, view.incumbent
        if view.just_returned and view.met:
            return True
        if best is None or not incumbent.clearly_worse_than(best, self._tuning.switch_gain):
            return False
        return view.met and incumbent.mean > 0

    def _trial(self, view: _View) -> Recommendation | None:
        best = view.best or view.incumbent
        if not view.met and (seed := self._next_seed(view, best)) is not None:
            why = f"{self._situation(view)}; {seed.config.describe()} is a common starting point and was not tried yet"
            return self._recommend(view, seed, Intent.EXPLORE, why)
        rng = np.random.default_rng([self._seed, self._observed])
        order = sorted(view.tried.values(), key=lambda row: row.trial.first_tick)
        scores = [row.score for row in order]
        region = self._region(scores)
        inside = region.points(self._space, self._space.nearest(best.config), rng)
        stale = {config for config, row in view.tried.items() if row.sigma >= self._tuning.stale_sigma}
        done = {self._position.get(config) for config in view.measured_here - stale}
        candidates = np.array([i for i in dict.fromkeys([*inside.tolist(), *self._seeds]) if i not in done])
        if not len(candidates):
            return None
        belief = view.beliefs.belief([self._configs[i] for i in candidates], self._knobs[candidates])
        worth = self._worth(view, best, belief, candidates, promises_kept(scores))
        top = int(worth.argmax())
        chosen = _Known(self._configs[candidates[top]], float(belief.mean[top]), float(belief.sigma[top]))
        if worth[top] <= 0 or chosen.config == view.incumbent.config:
            return None
        why = (
            f"{self._situation(view)}; {chosen.config.describe()} is predicted at "
            f"{explain.milliseconds(view.beliefs.objective.seconds(chosen.mean))} and worth a try"
        )
        return self._recommend(view, chosen, Intent.EXPLORE, why)

    def _worth(
        self, view: _View, best: _Known, belief: Belief, candidates: NDArray[np.intp], promises_kept: float
    ) -> Array:
        """What a trial of each candidate is expected to bring over the horizon, less its cost; shape (n,)."""
        tuning = self._tuning
        if tuning.gain == "expected":
            gains = np.maximum(best.mean - belief.mean, 0.0)
        else:
            gains = view.beliefs.value_of_trying(belief, self._knobs[candidates], best.config)
        losses = np.maximum(belief.mean - view.incumbent.mean, 0.0)
        if view.met:
            # A gain counts by the chance that the objective stays met, and not at all where that is too small.
            gains *= ndtr(-belief.mean / belief.sigma)
            gains[belief.mean + tuning.safety_sigmas * belief.sigma > 0] = 0.0
        worth: Array = tuning.horizon * promises_kept * gains - losses - 2 * tuning.switch_cost
        return worth

    def _region(self, scores: Sequence[float]) -> Region:
        match self._tuning.region:
            case "adaptive":
                return Region.after(scores)
            case "by_bo":
                return radius_by_bo(scores)
            case kind:
                return Region(whole_space=kind == "whole")

    def _next_seed(self, view: _View, best: _Known) -> _Known | None:
        configs = [self._configs[i] for i in self._seeds if self._configs[i] not in view.tried]
        if not configs:
            return None
        belief = view.beliefs.belief(configs)
        for config, mean, sigma in zip(configs, belief.mean, belief.sigma, strict=True):
            if mean - sigma < best.mean and config != view.incumbent.config:
                return _Known(config, float(mean), float(sigma))
        return None

    def _best_or_stay(self, view: _View) -> Recommendation:
        best, incumbent = view.best, view.incumbent
        if best is not None and incumbent.clearly_worse_than(best, self._tuning.switch_gain):
            why = f"{self._situation(view)}; {self._prospect(view, best)}"
            return self._recommend(view, best, Intent.EXPLOIT, why)
        hope = (
            "promises enough to be worth a switch" if view.met else "is expected to meet the objective or come nearer"
        )
        why = f"{self._situation(view)}; nothing known or near {hope}"
        return self._recommend(view, incumbent, Intent.STAY, why)

    # Words

    def _recommend(self, view: _View, chosen: _Known, intent: Intent, why: str) -> Recommendation:
        return Recommendation(
            config=chosen.config,
            intent=intent,
            explanation=why,
            workload=view.workload,
            predicted_tail=view.beliefs.objective.interval(chosen.mean, chosen.sigma),
            confidence=explain.confidence(chosen.sigma),
            acceptable=explain.acceptable(self._space, view.beliefs, chosen.config),
        )

    def _situation(self, view: _View) -> str:
        seconds = view.beliefs.objective.seconds(view.incumbent.mean)
        expected = "" if view.incumbent.config in view.tried else " expected"
        return f"{explain.against(view.slo, seconds)}{expected} at {explain.load(view.workload)}"

    def _prospect(self, view: _View, known: _Known) -> str:
        tail = explain.milliseconds(view.beliefs.objective.seconds(known.mean))
        row = view.tried.get(known.config)
        if row is not None:
            return f"{known.config.describe()} was measured at {tail} under this load ({explain.windows(row.windows)})"
        elsewhere = sum(row.windows for row in view.beliefs.rows if row.trial.config == known.config)
        if elsewhere:
            return f"{known.config.describe()} is predicted at {tail} ({explain.windows(elsewhere)} under other loads)"
        return f"{known.config.describe()} is predicted at {tail}; it has not been measured"
