"""Policies: who takes part in the benchmark, by name."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.replay.ablations import ABLATIONS
from benchmarks.replay.play import PolicyFactory
from benchmarks.replay.world import PERCENTILE, Terrain
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.adaptive_rrl import AdaptiveRRL
from service.learning.baselines import RIVALS
from service.learning.baselines.oracle import Oracle
from service.learning.context import Context
from service.learning.policy import Policy
from service.learning.space import ConfigSpace

OURS = "adaptive_rrl"
ORACLE = "oracle"
#: Those that do not search: they are shown, but what they save by not searching is no mark to beat.
NOT_SEARCHING = ("default", "guide", ORACLE)


def adaptive_rrl(space: ConfigSpace, seed: int) -> Policy:
    """The service's policy as the service runs it."""
    return AdaptiveRRL(space, seed=seed)


def names() -> tuple[str, ...]:
    """All policies: ours, the rivals, who knows the truth, the ablations."""
    return (OURS, *RIVALS, ORACLE, *ABLATIONS)


def factory_of(name: str, known: Mapping[str, Terrain]) -> PolicyFactory:
    """Makes the policy of that name.

    Args:
        name: One of :func:`names`.
        known: The landscapes; only the oracle looks at them.

    Raises:
        InvalidValueError: There is no such policy.
    """
    if name == ORACLE:
        return _oracle(known)
    found = _FACTORIES.get(name)
    if found is None:
        raise InvalidValueError("policies", f"{name!r} is none of {', '.join(names())}")
    return found


def module_of(name: str) -> str:
    """Where the policy of that name is defined: the code that its runs depend on."""
    return Oracle.__module__ if name == ORACLE else factory_of(name, {}).__module__


_FACTORIES: Mapping[str, PolicyFactory] = {OURS: adaptive_rrl, **RIVALS, **ABLATIONS}


def _oracle(known: Mapping[str, Terrain]) -> PolicyFactory:
    def truth(workload: Workload, config: ServingConfig) -> float:
        here = min(known.values(), key=lambda one: _unlike(one.landscape.workload, workload))
        return here.replay.tail(config, PERCENTILE)

    def factory(space: ConfigSpace, seed: int) -> Policy:
        return Oracle(space, truth, seed=seed)

    return factory


def _unlike(one: Workload, other: Workload) -> float:
    return Context.of(one).distance(Context.of(other))
