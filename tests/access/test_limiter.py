"""Rate limiter: what a bucket lets through, and how much it remembers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.access.limiter import RateLimiter, retry_after
from tests.support.manual_clock import ManualClock


def test_a_burst_passes_then_only_the_rate() -> None:
    clock = ManualClock()
    limiter = RateLimiter(2.0, 3, clock)

    burst = [limiter.take("a") for _ in range(4)]
    clock.advance(0.5)

    assert burst == [0.0, 0.0, 0.0, 0.5]
    assert [limiter.take("a"), limiter.take("a") > 0] == [0.0, True]


def test_callers_do_not_take_from_each_other() -> None:
    limiter = RateLimiter(1.0, 1, ManualClock())

    assert [limiter.take("a"), limiter.take("b"), limiter.take("a") > 0] == [0.0, 0.0, True]


def test_memory_is_bounded_and_the_longest_silent_is_forgotten() -> None:
    limiter = RateLimiter(0.001, 1, ManualClock(), max_keys=3)
    for key in ("a", "b", "c", "a", "d"):
        limiter.take(key)

    assert len(limiter) == 3
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0.0


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 10), st.integers(1, 10))
def test_never_more_pass_than_the_bucket_and_what_flowed_in(gaps: list[float], rate: float, burst: int) -> None:
    clock = ManualClock()
    limiter = RateLimiter(rate, burst, clock)
    passed = 0
    for gap in gaps:
        clock.advance(gap)
        passed += limiter.take("a") == 0.0

    assert passed <= burst + sum(gaps) * rate + 1e-6


def test_the_wait_is_told_in_whole_seconds_and_at_least_one() -> None:
    assert [retry_after(wait) for wait in (0.01, 1.0, 1.2)] == ["1", "1", "2"]
