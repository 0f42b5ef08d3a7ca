"""Fingerprint: a short text that changes when anything changes that a result depends on."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
#: Packages whose source counts; what others ship is named by the lock file.
_OWN = ("service", "benchmarks")
_LENGTH = 16


def of_values(*values: Any) -> str:
    """Of values whose ``repr`` says all about them."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:_LENGTH]


def of_file(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_LENGTH]


@lru_cache(maxsize=256)
def of_code(module: str) -> str:
    """Of a module's source and of all of ours that it imports, directly or not; nothing is imported to find out."""
    sources: dict[str, bytes] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        path = _path(name)
        if name in sources or path is None:
            continue
        sources[name] = path.read_bytes()
        pending += _imports(sources[name])
    return of_values(sorted(sources.items()))


def _path(module: str) -> Path | None:
    """The file of one of our modules; None for others, and for names that are no modules."""
    parts = module.split(".")
    stem = _ROOT.joinpath(*parts)
    candidates = (stem.with_suffix(".py"), stem / "__init__.py") if parts[0] in _OWN else ()
    return next((path for path in candidates if path.is_file()), None)


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
