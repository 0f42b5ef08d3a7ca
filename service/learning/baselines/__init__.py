"""Baselines: the rivals, each a policy like any other, and the registry of them.

The oracle stands apart (:mod:`service.learning.baselines.oracle`): it needs the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from service.learning.baselines.aimd import aimd
from service.learning.baselines.annealing import annealing
from service.learning.baselines.cherrypick import cherrypick
from service.learning.baselines.default import Default
from service.learning.baselines.dqn import dqn
from service.learning.baselines.forest import forest
from service.learning.baselines.guide import guide
from service.learning.baselines.hill_climbing import hill_climbing
from service.learning.baselines.nelder_mead import nelder_mead
from service.learning.baselines.q_learning import q_learning
from service.learning.baselines.random_search import random_search
from service.learning.baselines.skopt_cold import skopt_et, skopt_gp
from service.learning.policy import Policy
from service.learning.rrl import RRL
from service.learning.space import ConfigSpace

Factory = Callable[[ConfigSpace, int], Policy]
"""Makes a policy for a space with a seed."""


def _optuna_tpe(space: ConfigSpace, seed: int) -> Policy:
    from service.learning.baselines.optuna_search import optuna_tpe  # an optional dependency

    return optuna_tpe(space, seed)


def _optuna_gp(space: ConfigSpace, seed: int) -> Policy:
    from service.learning.baselines.optuna_search import optuna_gp  # an optional dependency

    return optuna_gp(space, seed)


#: Every rival by name. ``optuna_tpe`` and ``optuna_gp`` raise ModuleNotFoundError where what they need is missing.
RIVALS: Mapping[str, Factory] = MappingProxyType(
    {
        "default": lambda space, seed: Default(space, seed=seed),
        "guide": guide,
        "random": random_search,
        "hill_climbing": hill_climbing,
        "nelder_mead": nelder_mead,
        "annealing": annealing,
        "aimd": aimd,
        "q_learning": q_learning,
        "dqn": dqn,
        "rrl": lambda space, seed: RRL(space, seed=seed),
        "cherrypick": cherrypick,
        "skopt_gp": skopt_gp,
        "skopt_et": skopt_et,
        "forest": forest,
        "optuna_tpe": _optuna_tpe,
        "optuna_gp": _optuna_gp,
    }
)
