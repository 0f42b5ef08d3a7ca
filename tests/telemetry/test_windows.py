from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram
from service.domain.slo import Slo
from service.domain.window import SloVerdict, Window, WindowQuality
from service.telemetry.reading import Reading
from service.telemetry.stationarity import Trend
from service.telemetry.windows import WindowBuilder, WindowSettings
from tests.support.manual_clock import START, ManualClock
from tests.support.served_load import poisson_arrivals, queue_departures, readings_of

SETTINGS = WindowSettings(
    window_seconds=10.0, min_requests=200, max_window_seconds=40.0, blanking_seconds=2.0, max_gap_seconds=5.0
)
BOUNDS = (0.01, 0.1, 1.0)


class Bench:
    """A builder and the clock it looks at, which follows the readings."""

    def __init__(self, settings: WindowSettings = SETTINGS) -> None:
        self.clock = ManualClock()
        self.builder = WindowBuilder(settings, self.clock)

    def feed(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            self.clock.advance(reading.monotonic - self.clock.monotonic())
            self.builder.add(reading)

    @property
    def window(self) -> Window:
        window = self.builder.current()
        assert window is not None
        return window


def steady(seconds: float, rate: float = 100.0, *, every: float = 0.5, seed: int = 1) -> list[Reading]:
    """Readings of a lightly loaded server, from 0 s on."""
    arrivals = poisson_arrivals(np.random.default_rng(seed), [(seconds, rate)])
    departures = queue_departures(arrivals, np.full(len(arrivals), 0.3 / max(rate, 1e-9)))
    return readings_of(arrivals, departures, every=every, until=seconds)


def counted(moment: float, **statuses: int) -> Reading:
    """A reading by hand: so many requests by status, each OK one took 50 ms."""
    done = statuses.get("OK", 0)
    return Reading(
        monotonic=moment,
        time=START + moment,
        model="m",
        latency=Histogram(BOUNDS, (0, done, 0, 0), 0.05 * done),
        requests=statuses,
    )


def later(readings: Iterable[Reading], seconds: float) -> list[Reading]:
    """The same counters, read so much later."""
    return [replace(r, monotonic=r.monotonic + seconds, time=r.time + seconds) for r in readings]


def test_a_window_is_the_difference_of_its_last_and_first_reading() -> None:
    bench = Bench()
    bench.feed([counted(1.0, OK=1000, INTERNAL=5), counted(3.0, OK=1300, INTERNAL=7, UNAVAILABLE=20)])
    window = bench.window
    assert window.started_at == START + 1.0
    assert window.duration_seconds == 2.0
    assert window.latency.counts == (0, 300, 0, 0)
    assert window.latency.total == pytest.approx(15.0)
    assert (window.succeeded, window.rejected, window.failed) == (300, 20, 2)
    assert window.throughput_per_second == 150.0
    assert window.workload.rate_per_second == 161.0


def test_there_is_no_window_before_the_second_reading() -> None:
    bench = Bench()
    assert bench.builder.current() is None
    bench.feed([counted(1.0, OK=1)])
    assert bench.builder.current() is None


def test_refusals_are_rejections_and_the_callers_errors_are_no_failures() -> None:
    bench = Bench()
    after = counted(
        20.0,
        OK=100,
        UNAVAILABLE=3,
        RESOURCE_EXHAUSTED=4,
        INVALID_ARGUMENT=50,
        NOT_FOUND=60,
        FAILED_PRECONDITION=70,
        INTERNAL=1,
        DEADLINE_EXCEEDED=2,
        SOMETHING_NEW=8,
    )
    bench.feed([counted(16.0), after])
    assert bench.window.rejected == 7
    assert bench.window.failed == 11
    assert bench.window.loss_ratio == pytest.approx(18 / 118)
    assert bench.window.workload.rate_per_second == sum(after.requests.values()) / 4.0


def test_a_long_full_and_steady_window_is_good() -> None:
    bench = Bench()
    bench.feed(steady(10.0))
    assert bench.window.quality is WindowQuality.GOOD
    assert bench.window.workload.rate_per_second == pytest.approx(100, rel=0.15)
    assert bench.window.workload.cv == pytest.approx(1.0, abs=0.15)
    assert bench.builder.stationarity().steady


def test_until_it_is_long_enough_it_is_too_short_but_shows_what_it_has() -> None:
    bench = Bench()
    bench.feed(steady(9.5))
    assert bench.window.quality is WindowQuality.TOO_SHORT
    assert bench.window.verdict(Slo(0.001)) is SloVerdict.VIOLATED
    assert bench.window.succeeded > SETTINGS.min_requests


def test_a_window_without_requests_says_so() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, OK=77) for k in range(21))
    assert bench.window.quality is WindowQuality.NO_TRAFFIC
    assert bench.window.latency.count == 0
    assert bench.window.workload.rate_per_second == 0.0


def test_a_load_that_ended_is_forgotten_once_nothing_has_come_for_a_windows_length() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, OK=10 * min(k, 8)) for k in range(27))
    assert bench.window.succeeded == 80
    assert bench.window.workload.rate_per_second > 0

    bench.feed(counted(0.5 * k, OK=80) for k in range(27, 29))
    assert bench.window.quality is WindowQuality.NO_TRAFFIC
    assert bench.window.succeeded == 0


def test_a_load_that_begins_after_silence_is_measured_without_the_silence() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, OK=max(0, k - 30) * 50) for k in range(40))
    assert bench.window.duration_seconds == 4.0
    assert bench.window.workload.rate_per_second == 100.0


def test_a_server_that_never_served_has_no_traffic() -> None:
    bench = Bench()
    bench.feed(Reading(monotonic=0.5 * k, time=START, model="m") for k in range(21))
    assert bench.window.quality is WindowQuality.NO_TRAFFIC


def test_requests_that_are_all_the_callers_errors_are_too_few_to_judge() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, INVALID_ARGUMENT=100 * k) for k in range(21))
    assert bench.window.quality is WindowQuality.TOO_FEW_REQUESTS


def test_refused_requests_count_towards_the_least_number() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, OK=k, UNAVAILABLE=20 * k) for k in range(21))
    assert bench.window.quality is WindowQuality.GOOD
    assert bench.window.verdict(Slo(1.0)) is SloVerdict.VIOLATED


def test_a_window_with_too_few_requests_goes_on_growing() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, OK=5 * k) for k in range(31))
    assert bench.window.quality is WindowQuality.TOO_FEW_REQUESTS
    bench.feed(counted(0.5 * k, OK=5 * k) for k in range(31, 41))
    assert bench.window.quality is WindowQuality.GOOD
    assert bench.window.duration_seconds == 20.0


def test_a_window_never_grows_beyond_its_limit() -> None:
    bench = Bench()
    bench.feed(counted(0.5 * k, OK=k // 10) for k in range(200))
    assert bench.window.duration_seconds == SETTINGS.max_window_seconds


def test_a_window_that_is_long_and_full_slides_on() -> None:
    bench = Bench()
    bench.feed(steady(25.0))
    assert bench.window.duration_seconds == 10.0
    assert bench.window.started_at == START + 15.0


def test_what_follows_a_switch_is_not_measured() -> None:
    bench = Bench()
    bench.feed(steady(5.0))
    bench.builder.restart("switch")
    assert bench.builder.blanking
    assert bench.builder.current() is None
    assert bench.builder.last_restart is not None
    assert bench.builder.last_restart.reason == "switch"
    assert bench.builder.last_restart.at == START + 5.0
    bench.feed(steady(12.0)[11:])
    assert not bench.builder.blanking
    assert bench.window.started_at == START + 7.0


def test_a_window_that_was_used_is_followed_without_gap_and_overlap() -> None:
    bench = Bench()
    readings = steady(20.0)
    bench.feed(readings[:21])
    first = bench.window
    bench.builder.start_next()
    assert bench.builder.current() is None
    bench.feed(readings[21:])
    second = bench.window
    assert second.started_at == first.started_at + first.duration_seconds
    last = readings[-1].latency
    assert last is not None
    assert first.succeeded + second.succeeded == last.count


def test_a_server_that_was_restarted_begins_a_new_window_after_the_blanking() -> None:
    bench = Bench()
    bench.feed(steady(8.0))
    bench.feed(later(steady(8.0, seed=2), 8.5))
    restart = bench.builder.last_restart
    assert restart is not None
    assert "restarted" in restart.reason
    assert restart.at == START + 8.5
    assert bench.window.started_at == START + 10.5


def test_another_generation_begins_a_new_window() -> None:
    bench = Bench()
    readings = steady(9.0)
    bench.feed(replace(reading, generation=1) for reading in readings[:10])
    bench.feed(replace(reading, generation=2) for reading in readings[10:])
    restart = bench.builder.last_restart
    assert restart is not None
    assert "generation 1 to 2" in restart.reason
    assert bench.window.started_at == START + 7.0


def test_missed_readings_do_no_harm() -> None:
    every, some = Bench(), Bench()
    readings = steady(10.0)
    every.feed(readings)
    some.feed(reading for number, reading in enumerate(readings) if number not in (4, 5, 11))
    assert some.window.latency == every.window.latency
    assert some.window.workload == every.window.workload
    assert some.window.quality is WindowQuality.GOOD
    assert some.builder.last_restart is None


def test_a_long_gap_begins_a_new_window_without_blanking() -> None:
    bench = Bench()
    readings = steady(20.0)
    bench.feed([*readings[:8], *readings[20:]])
    restart = bench.builder.last_restart
    assert restart is not None
    assert "no metrics for 6.5 s" in restart.reason
    assert bench.window.started_at == START + 10.0


def test_a_reading_that_is_not_newer_is_ignored() -> None:
    bench = Bench()
    bench.feed([counted(1.0, OK=10), counted(2.0, OK=20)])
    bench.builder.add(counted(2.0, OK=20))
    bench.builder.add(counted(1.5, OK=15))
    assert bench.window.succeeded == 10
    assert bench.builder.last_restart is None


def load_step() -> list[Reading]:
    arrivals = poisson_arrivals(np.random.default_rng(4), [(5.0, 100.0), (20.0, 300.0)])
    departures = queue_departures(arrivals, np.full(len(arrivals), 1 / 1000))
    return readings_of(arrivals, departures, every=0.5, until=25.0)


def test_a_load_step_makes_the_window_not_stationary() -> None:
    bench = Bench()
    bench.feed(load_step()[:21])
    assert bench.window.quality is WindowQuality.NOT_STATIONARY
    assert bench.builder.stationarity().rate is Trend.RISING


def test_the_later_half_of_a_window_can_be_kept() -> None:
    bench = Bench()
    readings = load_step()
    bench.feed(readings[:21])
    bench.builder.rebase_to_recent()
    assert bench.window.started_at == START + 5.0
    assert bench.window.quality is WindowQuality.TOO_SHORT
    assert bench.window.workload.rate_per_second == pytest.approx(300, rel=0.1)
    bench.feed(readings[21:31])
    assert bench.window.quality is WindowQuality.GOOD


def test_a_load_that_begins_after_long_idleness_is_seen_at_once() -> None:
    arrivals = poisson_arrivals(np.random.default_rng(5), [(45.0, 0.0), (15.0, 200.0)])
    readings = readings_of(arrivals, arrivals + 0.005, every=0.5, until=60.0)
    bench = Bench()
    bench.feed(readings[:101])
    assert bench.window.duration_seconds == 4.5
    assert bench.window.workload.rate_per_second == pytest.approx(200, rel=0.15)
    assert bench.window.workload.cv == pytest.approx(1.0, abs=0.15)


def test_rebasing_nothing_is_no_error() -> None:
    bench = Bench()
    bench.builder.rebase_to_recent()
    bench.builder.start_next()
    assert bench.builder.current() is None
    assert bench.builder.stationarity().steady


def described(moment: float, foreign: int, batches: int) -> Reading:
    """A server with two requests of 3 examples in each batch."""
    return replace(
        counted(moment, OK=2 * batches),
        foreign_requests=foreign,
        batch_size=Histogram((1.0, 8.0), (0, batches, 0), 6.0 * batches),
        queueing=Histogram(BOUNDS, (2 * batches, 0, 0, 0), 0.002 * batches),
        session_inputs=Histogram((1.0, 8.0), (0, 2 * batches, 0), 6.0 * batches),
    )


def test_batches_queueing_and_examples_are_told_where_the_server_tells() -> None:
    bench = Bench()
    bench.feed([described(0.0, 5, 10), described(1.0, 5, 60)])
    assert bench.window.batch_size is not None
    assert bench.window.batch_size.count == 50
    assert bench.window.batch_size.mean == 6.0
    assert bench.window.queueing is not None
    assert bench.window.queueing.mean == pytest.approx(0.001)
    assert bench.window.workload.examples_per_request == 3.0


def test_examples_that_are_counted_once_a_batch_are_shared_among_its_requests() -> None:
    """Else the load would seem to change whenever the configuration lets larger batches form."""

    def reading(moment: float, batches: int) -> Reading:
        return replace(
            described(moment, 5, batches), session_inputs=Histogram((1.0, 8.0), (0, batches, 0), 6.0 * batches)
        )

    bench = Bench()
    bench.feed([reading(0.0, 10), reading(1.0, 60)])
    assert bench.window.workload.examples_per_request == 3.0


def test_batches_of_several_models_are_attributed_to_none() -> None:
    bench = Bench()
    bench.feed([described(0.0, 5, 10), described(1.0, 6, 60)])
    assert bench.window.batch_size is None
    assert bench.window.queueing is None
    assert bench.window.workload.examples_per_request == 1.0


def test_examples_counted_for_the_model_are_preferred() -> None:
    def reading(moment: float, requests: int) -> Reading:
        own = Histogram((1.0, 8.0), (0, requests, 0), 5.0 * requests)
        return replace(described(moment, int(moment), requests), request_examples=own)

    bench = Bench()
    bench.feed([reading(0.0, 10), reading(1.0, 20)])
    assert bench.window.workload.examples_per_request == 5.0


def test_a_window_survives_being_stored() -> None:
    bench = Bench()
    bench.feed(steady(10.0))
    assert Window.from_dict(bench.window.to_dict()) == bench.window


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_seconds": 0.0},
        {"min_requests": 0},
        {"max_window_seconds": 5.0},
        {"blanking_seconds": -1.0},
        {"max_gap_seconds": 0.0},
        {"window_seconds": float("nan")},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        replace(SETTINGS, **wrong)
    assert caught.value.field in ("max_window_seconds", *wrong)
