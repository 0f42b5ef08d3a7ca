"""Which landscapes were looked at while constants of our policy were chosen; all others are held out."""

from __future__ import annotations

#: Names of landscapes.
TUNED_ON: frozenset[str] = frozenset({"cnn-25", "cnn-50"})
