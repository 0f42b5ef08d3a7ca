from __future__ import annotations

from service.control.spikes import KEPT_SECONDS, SpikeMeter
from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.telemetry.reading import Reading

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
        self.read()

    def read(self) -> None:
        self.meter.add(
            Reading(
                monotonic=self.at,
                time=self.at,
                model="m",
                latency=self.latency,
                requests={"OK": self.latency.count, "UNAVAILABLE": self.refused},
                generation=self.generation,
                process_started_at=self.begun,
            )
        )

    def serve(self, seconds: int, latency: float, *, slow: int = 0, refused: int = 0) -> None:
        for _ in range(seconds):
            self.at += 1.0
            values = [latency] * (100 - slow) + [0.9] * slow
            self.latency = self.latency.plus(Histogram.of(values, BOUNDS))
            self.refused += refused
            self.read()

    def cost(self, begin: float, end: float, steady: float = 0.02) -> float:
        return self.meter.seconds(begin, end, SLO, steady)


def test_only_the_seconds_above_the_bound_cost():
    server = Server()
    server.serve(5, 0.02)
    server.serve(3, 0.3)
    server.serve(5, 0.02)
    assert server.cost(4, 13) == 3.0


def test_what_lies_outside_the_stretch_is_not_charged_to_it():
    server = Server()
    server.serve(4, 0.3)
    server.serve(4, 0.02)
    assert server.cost(2.5, 8) == 1.5


def test_what_is_usual_costs_nothing():
    server = Server()
    server.serve(10, 0.3)
    assert server.cost(0, 10, steady=0.5) == 0.0


def test_a_slow_request_that_the_percentile_allows_costs_nothing():
    server = Server()
    server.serve(5, 0.02, slow=1)
    assert server.cost(0, 5) == 0.0
    server.serve(5, 0.02, slow=10)
    assert server.cost(5, 10) == 5.0


def test_refused_requests_cost():
    server = Server()
    server.serve(2, 0.02, refused=20)
    assert server.cost(0, 2) == 2.0


def test_a_new_generation_is_looked_across_but_a_new_process_is_not():
    server = Server()
    server.serve(1, 0.02)
    server.generation = 2
    server.serve(1, 0.3)
    assert server.cost(1, 2) == 1.0
    server.begun = 2.0
    server.serve(1, 0.3)
    assert server.cost(2, 3) == 0.0


def test_old_readings_are_forgotten():
    server = Server()
    server.serve(int(KEPT_SECONDS) * 2, 0.02)
    assert len(server.meter._readings) <= KEPT_SECONDS + 2
