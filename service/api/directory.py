"""Directory: which operation a request is, before any route has seen it. Made from the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.routing import compile_path

from service.access.scopes import Scope
from service.api.scopes import scope_of

#: What metrics and the audit log call a request that is no operation of ours.
UNKNOWN_ROUTE = "unknown"

#: Pages beside the document. They say nothing of what runs, but whoever may not read needs no list of doors either.
_PAGES = ("/docs", "/openapi.json")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a request asks for.

    Attributes:
        id: What the API calls it; empty for what is none of its operations.
        route: Its path with parameters in braces; one of few values, whatever was sent.
        scope: The least scope that may call it.
        methods: Those that its path knows; none where there is no such path.
    """

    id: str
    route: str
    scope: Scope
    methods: tuple[str, ...] = ()


class Directory:
    """Finds operations by method and path, by the same patterns as the router.

    Args:
        document: The API's OpenAPI document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._paths: list[tuple[re.Pattern[str], dict[str, Operation], Operation]] = []
        for path, item in document["paths"].items():
            ids = {method.upper(): str(spec["operationId"]) for method, spec in item.items()}
            self._add(path, {method: (name, scope_of(name)) for method, name in ids.items()})
        for path in _PAGES:
            self._add(path, {"GET": ("", Scope.READ)})

    def find(self, method: str, path: str) -> Operation:
        """The operation; one without an id where there is none."""
        for pattern, operations, other in self._paths:
            if pattern.match(path):
                return operations.get(method, other)
        return Operation("", UNKNOWN_ROUTE, Scope.READ)

    def _add(self, path: str, operations: Mapping[str, tuple[str, Scope]]) -> None:
        methods = tuple(sorted(operations))
        made = {method: Operation(name, path, scope, methods) for method, (name, scope) in operations.items()}
        self._paths.append((compile_path(path)[0], made, Operation("", path, Scope.READ, methods)))
