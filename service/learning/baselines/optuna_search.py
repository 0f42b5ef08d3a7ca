"""Optuna: its tree-structured Parzen estimator, or its Gaussian process, over the lattice's grid indices.

Each suggestion hands Optuna all measured points with their mean scores and asks for the next trial. Optuna knows no
infeasible points and may name one twice: the nearest feasible point not measured yet is taken.

Optuna is an optional dependency (extra ``bench``); nothing else imports this module. Its Gaussian process needs
PyTorch besides.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import numpy as np
import optuna

from service.learning.search import TRIALS, Problem, Search, Visit
from service.learning.searcher import Searcher
from service.learning.space import ConfigSpace, Point

Sampler = Literal["tpe", "gp"]

# Optuna announces each study at level INFO; this sets the level of its own logger and no other.
optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaSearch(Search):
    """The search.

    Args:
        problem: What it works on.
        sampler: ``tpe`` or ``gp``.
        trials: Points to measure.
    """

    def __init__(self, problem: Problem, sampler: Sampler, trials: int) -> None:
        super().__init__(problem)
        self._sampler = sampler
        self._trials = trials
        self._told = 0
        self._axes: dict[str, optuna.distributions.BaseDistribution] = {
            knob.name: optuna.distributions.IntDistribution(0, len(knob.values) - 1) for knob in problem.space.knobs
        }

    def tell(self, visit: Visit, score: float) -> None:
        """Count windows; all else is read from what is known."""
        self._told += 1

    def ask(self) -> Point | None:
        """The point nearest to Optuna's next trial."""
        known, space = self.problem.known, self.problem.space
        if len(known) >= min(self._trials, len(space)):
            return None
        study = optuna.create_study(sampler=self._new_sampler())
        study.add_trials(
            optuna.trial.create_trial(
                params=dict(zip(self._axes, point, strict=True)), distributions=self._axes, value=known.mean(point)
            )
            for point in known
        )
        wanted = study.ask(self._axes).params
        distances = np.square(space.coordinates - np.array([wanted[name] for name in self._axes])).sum(axis=1)
        distances[[space.index(point) for point in known]] = np.inf
        return space.points[int(distances.argmin())]

    def _new_sampler(self) -> optuna.samplers.BaseSampler:
        seed = int(np.random.default_rng([self.problem.seed, self._told]).integers(2**31))
        if self._sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.GPSampler(seed=seed)


def optuna_tpe(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """The Parzen estimator as a policy.

    Args:
        space: Where configurations come from.
        seed: Seeds the sampler.
        trials: Configurations to measure before the best is kept.
    """
    return Searcher("optuna_tpe", space, lambda p: OptunaSearch(p, "tpe", trials), seed=seed)


def optuna_gp(space: ConfigSpace, seed: int = 0, *, trials: int = TRIALS) -> Searcher:
    """The Gaussian process as a policy; arguments as of :func:`optuna_tpe`.

    Raises:
        ModuleNotFoundError: PyTorch is not installed.
    """
    if find_spec("torch") is None:
        raise ModuleNotFoundError("Optuna's Gaussian process needs PyTorch: pip install torch", name="torch")
    return Searcher("optuna_gp", space, lambda p: OptunaSearch(p, "gp", trials), seed=seed)
