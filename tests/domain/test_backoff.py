"""Pauses grow while something fails, up to a bound, and are forgotten at the first success."""

from __future__ import annotations

from random import Random

import pytest

from service.domain.backoff import Backoff


def test_pauses_double_up_to_the_longest():
    backoff = Backoff(1.0, 5.0)
    assert [backoff.failed(0.0) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_it_waits_for_the_pause_and_no_longer():
    backoff = Backoff(2.0, 5.0)
    assert not backoff.waiting(0.0)
    backoff.failed(10.0)
    assert backoff.waiting(11.9)
    assert not backoff.waiting(12.0)


def test_success_begins_anew():
    backoff = Backoff(1.0, 8.0)
    backoff.failed(0.0)
    backoff.failed(0.0)
    backoff.succeeded()
    assert not backoff.waiting(0.0)
    assert backoff.failed(0.0) == 1.0


def test_a_longest_below_the_first_is_the_first():
    assert Backoff(3.0, 1.0).failed(0.0) == 3.0


@pytest.mark.parametrize("seed", range(3))
def test_pauses_that_are_drawn_lie_between_half_and_whole_and_differ(seed):
    backoff = Backoff(1.0, 4.0, Random(seed))  # noqa: S311 — guards nothing
    pauses = [backoff.failed(0.0) for _ in range(40)]
    assert all(whole / 2 <= pause <= whole for whole, pause in zip([1.0, 2.0] + [4.0] * 38, pauses, strict=True))
    assert len(set(pauses)) == 40
