"""Slo: the promise that is to be kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.domain.errors import InvalidValueError

#: Shortest bound, seconds.
MIN_BOUND_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class Slo:
    """The ``percentile`` of latency stays at or below ``bound_seconds``.

    Attributes:
        bound_seconds: Latency that must not be exceeded, in seconds.
        percentile: Which percentile is held against the bound, as a fraction (0.99 is p99).
        target_ratio: Share of requests that must stay within the bound; 1 − target_ratio is the error budget.

    Raises:
        InvalidValueError: A value is out of range; names the field.
    """

    bound_seconds: float
    percentile: float = 0.99
    target_ratio: float = 0.99

    def __post_init__(self) -> None:
        for name in ("bound_seconds", "percentile", "target_ratio"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InvalidValueError(name, f"must be a finite number, not {value!r}")
        # Shorter than any request: a bound that is nearly zero would only overflow what is divided by it.
        if not MIN_BOUND_SECONDS <= self.bound_seconds <= 3600:
            raise InvalidValueError("bound_seconds", f"must lie in [1e-06, 3600], not {self.bound_seconds}")
        if not 0.5 <= self.percentile < 1:
            raise InvalidValueError("percentile", f"is a fraction in [0.5, 1) such as 0.99, not {self.percentile}")
        if not 0 < self.target_ratio < 1:
            raise InvalidValueError("target_ratio", f"must lie in (0, 1), not {self.target_ratio}")

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Slo:
        """Read what :meth:`to_dict` wrote."""
        return cls(**raw)

    def describe(self) -> str:
        """For people: ``p99 ≤ 50 ms``."""
        return f"p{self.percentile * 100:g} ≤ {self.bound_seconds * 1000:g} ms"
