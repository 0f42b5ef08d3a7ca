"""Which scope each operation needs: one table, so that who may do what can be read at a glance.

An operation that is missing here needs ``admin``: what nobody thought about is closed. A test finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.access.scopes import Scope

_READ = (
    "getMetrics",
    "listModels",
    "getModel",
    "getSlo",
    "getMode",
    "getConfig",
    "getRecommendation",
    "whatIf",
    "listDecisions",
    "getDecision",
    "listObservations",
    "getWhy",
    "getLedger",
    "getKillSwitch",
    "exportHistory",
)
_OPERATE = (
    "putSlo",
    "putMode",
    "putConfig",
    "rollback",
    "skipLearning",
    "putKillSwitch",
)
_ADMIN = (
    "listAudit",
    "importHistory",
)

#: Operations whose body is no small JSON document: they read it themselves, piece by piece, and see to its bounds.
STREAMED_OPERATIONS = frozenset({"importHistory"})

#: Operation id → the least scope that may call it.
SCOPES: Mapping[str, Scope] = MappingProxyType(
    dict.fromkeys(_READ, Scope.READ) | dict.fromkeys(_OPERATE, Scope.OPERATE) | dict.fromkeys(_ADMIN, Scope.ADMIN)
)

#: Operations that anybody may call: probes carry no token.
OPEN_OPERATIONS = frozenset({"getHealth", "getReadiness"})


def scope_of(operation: str) -> Scope:
    """The scope that an operation needs, by its id."""
    return SCOPES.get(operation, Scope.ADMIN)
