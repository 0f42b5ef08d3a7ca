"""The requests round a switch are told apart, and counted, as the definition says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.open_loop import Requests
from benchmarks.switches import ALL, KnobResult, Switch, by_knob, observe, table, targets
from benchmarks.switching import sequence, variants
from service.domain.serving_config import ServingConfig


def every_10_ms(seconds: float, latency: dict[tuple[float, float], float], failed: tuple[float, ...] = ()) -> Requests:
    """A request every 10 ms that takes 5 ms, or what ``latency`` says for a stretch of time."""
    intended = np.arange(0.0, seconds, 0.01)
    took = np.full(len(intended), 0.005)
    for (start, end), value in latency.items():
        took[(intended >= start - 1e-9) & (intended < end - 1e-9)] = value
    outcome = ["UNAVAILABLE" if any(abs(t - bad) < 1e-6 for bad in failed) else "OK" for t in intended]
    return Requests(intended, intended, intended + took, tuple(outcome))


def change(knob: str, sent: float, answered: float) -> Switch:
    return Switch(knob, "a", "b", sent, answered)


def test_during_lasts_until_the_put_is_answered() -> None:
    [seen] = observe(every_10_ms(4, {}), [change("k", 2.0, 3.0)])
    assert len(seen.during) == pytest.approx(101, abs=1)
    assert len(seen.steady) == len(seen.during)
    assert seen.failed == 0


def test_during_lasts_until_what_was_sent_before_is_answered() -> None:
    # The request due at 1.99 takes a second, so the old configuration is at work until 2.99.
    [seen] = observe(every_10_ms(4, {(1.99, 2.0): 1.0}), [change("k", 2.0, 2.1)])
    assert len(seen.during) == pytest.approx(100, abs=1)


def test_a_switch_of_an_instant_has_requests_too() -> None:
    [seen] = observe(every_10_ms(4, {}), [change("k", 2.0, 2.001)])
    assert len(seen.during) == pytest.approx(21, abs=1)


def test_steady_requests_are_none_of_an_earlier_switch_or_its_wake() -> None:
    slow = every_10_ms(6, {(2.0, 3.2): 0.2})
    seen = observe(slow, [change("k", 2.0, 3.0), change("k", 4.0, 5.0)])
    assert seen[0].during.max() == pytest.approx(0.2)
    assert seen[0].steady.max() == pytest.approx(0.005)
    # From 3.0 or a little later, and the half second after it, until 4.0.
    assert seen[1].steady.max() == pytest.approx(0.005)
    assert 25 <= len(seen[1].steady) <= 50


def test_failures_count_and_have_no_latency() -> None:
    [seen] = observe(every_10_ms(4, {}, failed=(2.5, 1.0)), [change("k", 2.0, 3.0)])
    assert seen.failed == 1
    assert seen.to_dict()["requests_during"] == len(seen.during) + 1


def test_results_are_given_by_knob_and_for_all_together() -> None:
    load = every_10_ms(40, {(start, start + 1.0): 0.02 for start in (4.0, 12.0, 20.0, 28.0, 36.0)})
    switches = [change("slow" if index % 2 else "fast", 4.0 * index, 4.0 * index + 1) for index in range(1, 10)]
    results = {result.knob: result for result in by_knob(observe(load, switches), np.random.default_rng(0))}
    assert list(results) == ["slow", "fast", ALL]
    assert results["slow"].switches == 5
    assert results["slow"].ratio.value == pytest.approx(4)
    assert results["slow"].ratio.low == pytest.approx(4)
    assert results["fast"].ratio.value == pytest.approx(1)
    assert results[ALL].switches == 9
    assert results[ALL].max_seconds == pytest.approx(1)
    assert results[ALL].requests == results["slow"].requests + results["fast"].requests


def result_of(load: Requests, switch: Switch) -> list[KnobResult]:
    return by_knob(observe(load, [switch]), np.random.default_rng(0))


def test_targets_say_what_was_missed() -> None:
    good = result_of(every_10_ms(6, {}), change("k", 2.0, 2.5))
    assert all(targets(good, 0).values())
    assert list(targets(good, 1).values()) == [False, True, True]
    bad = result_of(every_10_ms(6, {(2.0, 3.5): 0.02}), change("k", 2.0, 3.5))
    assert list(targets(bad, 0).values()) == [True, False, False]


def test_the_table_says_what_was_offered_and_lost() -> None:
    shown = table("m", 100.0, result_of(every_10_ms(6, {}), change("k", 2.0, 2.5)), 2)
    assert [row[0] for row in shown.rows] == ["k", ALL]
    assert "100 requests/s" in shown.note
    assert "2 failed" in shown.note


def test_each_knob_is_changed_alone_and_changed_back() -> None:
    base = ServingConfig(enable_batching=True, max_batch_size=32, num_batch_threads=2)
    changed = variants(base, 2)
    assert all(config != base for config in changed.values())
    assert set(changed["instances"].differences(base)) == {"instances"}
    steps = list(itertools.islice(sequence(base, changed, 1), 2 * len(changed)))
    assert {knob for knob, _ in steps} == set(changed)
    for (knob, there), (same, back) in zip(steps[::2], steps[1::2], strict=True):
        assert (knob, there, back) == (same, changed[knob], base)
