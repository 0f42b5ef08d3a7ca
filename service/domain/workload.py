"""Workload: the load a window was measured under; the context of every choice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.domain.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Workload:
    """How requests arrive.

    Attributes:
        rate_per_second: Mean arrival rate, requests a second.
        cv: Coefficient of variation of the times between arrivals; 1 for a Poisson process, more for bursts.
        examples_per_request: Mean number of examples one request carries.

    Raises:
        InvalidValueError: A value is negative or not finite.
    """

    rate_per_second: float
    cv: float = 1.0
    examples_per_request: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rate_per_second", "cv", "examples_per_request"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise InvalidValueError(name, f"must be a finite number ≥ 0, not {value!r}")

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Workload:
        """Read what :meth:`to_dict` wrote."""
        return cls(**raw)
