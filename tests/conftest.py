"""Fixtures that are made once for all tests of a run."""

from __future__ import annotations

from tests.support.postgres import postgres

__all__ = ["postgres"]
