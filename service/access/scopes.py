"""Scopes: what a token allows. Each includes those before it."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do, from least to most."""

    READ = "read"
    """Look at everything but the audit log."""
    OPERATE = "operate"
    """Change objectives, modes and configurations."""
    ADMIN = "admin"
    """Also what touches the history itself, and the audit log."""

    def allows(self, needed: Scope) -> bool:
        """Whether a holder of this scope may do what ``needed`` asks for."""
        return _RANK[self] >= _RANK[needed]


_RANK = {scope: rank for rank, scope in enumerate(Scope)}
