"""SafeRegion: how far from what is known to be good an experiment may go. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.domain.serving_config import ServingConfig
from service.learning.moves import nearest_point
from service.learning.space import ConfigSpace, Point

#: Steps that a knob counts as having, at least.
LEAST_STEPS = 4


@dataclass(frozen=True, slots=True)
class SafeRegion:
    """The configurations within a radius of a centre.

    A distance is the root mean square, over the knobs that have a choice, of the steps between two configurations as a
    share of all the steps that the knob has: 0 is the same configuration, 1 the opposite corner of the lattice. A knob
    of few values counts as one of :data:`LEAST_STEPS`, so that one step of one knob is never far.

    Attributes:
        space: The lattice.
        centre: The last known good configuration.
        safety_factor: 0 (as far as you like) … 1 (not at all); the radius is what it leaves of 1.
    """

    space: ConfigSpace
    centre: ServingConfig
    safety_factor: float

    @property
    def radius(self) -> float:
        """Largest distance that is allowed."""
        return 1.0 - self.safety_factor

    def distance(self, config: ServingConfig) -> float:
        """How far a configuration lies from the centre, 0…1."""
        return self._between(self.space.nearest(self.centre), self.space.nearest(config))

    def holds(self, config: ServingConfig) -> bool:
        """Whether a configuration lies inside."""
        return self.distance(config) <= self.radius + 1e-9

    def towards(self, config: ServingConfig) -> ServingConfig | None:
        """The farthest feasible point inside that lies about on the straight way from the centre to a configuration.

        Returns:
            None where no such point is nearer to the configuration than the centre.
        """
        here, there = self.space.nearest(self.centre), self.space.nearest(config)
        longest = max(abs(a - b) for a, b in zip(here, there, strict=True))
        whole = self._between(here, there)
        for step in range(2 * longest - 1, 0, -1):
            share = step / (2 * longest)
            point = nearest_point(self.space, [a + share * (b - a) for a, b in zip(here, there, strict=True)])
            if self._between(here, point) <= self.radius and self._between(point, there) < whole:
                return self.space.config(point)
        return None

    def _between(self, one: Point, other: Point) -> float:
        spans = [len(knob.values) - 1 for knob in self.space.knobs]
        steps = [(a - b, max(span, LEAST_STEPS)) for a, b, span in zip(one, other, spans, strict=True) if span]
        shares = [(step / span) ** 2 for step, span in steps]
        return math.sqrt(sum(shares) / len(shares)) if shares else 0.0
