from __future__ import annotations

import pytest

from service.control.spikes import KEPT_SECONDS, SpikeMeter
from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.telemetry.reading import Interarrivals, Reading

SLO = Slo(0.05)
BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0)


class Server:
    """Readings of a server, one a second."""

    def __init__(self) -> None:
        self.meter = SpikeMeter()
        self.at = 0.0
        self.latency = Histogram.empty(BOUNDS)
        self.refused = 0
        self.generation = 1
        self.begun = 1.0
        self.arrived = 0
        self.read()

    def read(self) -> None:
        self.meter.add(
            Reading(
                monotonic=self.at,
                time=self.at,
                model="m",
                latency=self.latency,
                requests={"OK": self.latency.count, "UNAVAILABLE": self.refused},
                interarrivals=Interarrivals(self.arrived, 0.0, 0.0),
                generation=self.generation,
                process_started_at=self.begun,
            )
        )

    def serve(self, seconds: int, latency: float, *, slow: int = 0, refused: int = 0) -> None:
        for _ in range(seconds):
            self.at += 1.0
            self.arrived += 100
            values = [latency] * (100 - slow) + [0.9] * slow
            self.latency = self.latency.plus(Histogram.of(values, BOUNDS))
            self.refused += refused
            self.read()

    def stand_still(self, seconds: int) -> None:
        """Requests come and none is answered."""
        for _ in range(seconds):
            self.at += 1.0
            self.arrived += 100
            self.read()

    def cost(self, end: float, steady: float = 0.02) -> float | None:
        return self.meter.finish(end, SLO, steady)


def test_only_the_seconds_above_the_bound_cost():
    server = Server()
    server.serve(5, 0.02)
    server.meter.begin(4.0)
    server.serve(3, 0.3)
    server.serve(5, 0.02)
    assert server.cost(13) == 3.0


def test_what_lies_outside_the_stretch_is_not_charged_to_it():
    server = Server()
    server.serve(2, 0.3)
    server.meter.begin(2.5)
    server.serve(2, 0.3)
    server.serve(4, 0.02)
    server.serve(4, 0.3)
    assert server.cost(8) == 1.5


def test_what_is_usual_costs_nothing():
    server = Server()
    server.meter.begin(0.0)
    server.serve(10, 0.3)
    assert server.cost(10, steady=0.5) == 0.0


@pytest.mark.parametrize(("slow", "cost"), [(1, 0.0), (10, 5.0)])
def test_what_the_percentile_allows_costs_nothing(slow, cost):
    server = Server()
    server.meter.begin(0.0)
    server.serve(5, 0.02, slow=slow)
    assert server.cost(5) == cost


def test_refused_requests_cost():
    server = Server()
    server.meter.begin(0.0)
    server.serve(2, 0.02, refused=20)
    assert server.cost(2) == 2.0


def test_a_standstill_costs():
    server = Server()
    server.meter.begin(0.0)
    server.stand_still(3)
    server.serve(1, 0.02)
    assert server.cost(4) == 3.0


def test_a_new_generation_is_looked_across_but_a_new_process_is_not():
    server = Server()
    server.meter.begin(0.0)
    server.generation = 2
    server.serve(1, 0.3)
    server.begun = 2.0
    server.serve(1, 0.3)
    assert server.cost(2) == 1.0


def test_each_switch_is_counted_once():
    server = Server()
    assert server.cost(1) is None
    server.meter.begin(0.0)
    server.serve(1, 0.3)
    assert server.cost(1) == 1.0
    assert server.cost(1) is None


def test_readings_are_kept_only_for_a_switch_and_not_for_ever():
    server = Server()
    server.serve(100, 0.02)
    assert len(server.meter._readings) == 1
    server.meter.begin(100.0)
    server.serve(500, 0.02)
    assert len(server.meter._readings) <= KEPT_SECONDS + 1
