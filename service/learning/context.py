"""Context: a workload as the learner sees it, and when two loads count as the same.

Rates are compared by their ratio: noise of ±10 % is the same load, twice the rate is another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.workload import Workload

#: Differences of the logarithms of rate, CV and examples that make two loads just distinct. A window's CV is a noisy
#: estimate (about ±15 % from a thousand bursty arrivals), so it needs a larger difference.
SCALES = (0.25, 0.5, 0.25)

#: Floors, so that an idle or perfectly regular load has a logarithm.
_FLOORS = (1e-3, 0.3, 1e-3)


@dataclass(frozen=True, slots=True)
class Context:
    """A workload in logarithms: of the rate, of the CV, of the examples a request carries."""

    log_rate: float
    log_cv: float
    log_examples: float

    @classmethod
    def of(cls, workload: Workload) -> Context:
        """The context of a workload."""
        values = (workload.rate_per_second, workload.cv, workload.examples_per_request)
        return cls(*(math.log(max(value, floor)) for value, floor in zip(values, _FLOORS, strict=True)))

    def blend(self, other: Context, share: float) -> Context:
        """This context moved towards ``other`` by ``share`` (0 … 1) of the way."""
        return Context(*(float(v) for v in (1 - share) * self.vector + share * other.vector))

    @property
    def vector(self) -> NDArray[np.float64]:
        """The three logarithms, shape (3,)."""
        return np.array([self.log_rate, self.log_cv, self.log_examples])

    @property
    def rate_per_second(self) -> float:
        """Arrival rate, requests a second."""
        return math.exp(self.log_rate)

    def distance(self, other: Context) -> float:
        """Euclidean distance in units of :data:`SCALES`."""
        return float(np.linalg.norm((self.vector - other.vector) / SCALES))

    def same_load(self, other: Context) -> bool:
        """Whether the two differ by no more than noise does."""
        return self.distance(other) <= 1.0

    def harder_than(self, other: Context) -> bool:
        """Whether no component is below ``other``'s: what failed there will not do here."""
        return bool(np.all(self.vector >= other.vector))
