"""Metrics: windows until settled, regret, violations, the price of a change; on paths made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.replay.metrics import WORST_RATIO, Truth, first, measure, settled
from benchmarks.replay.results import Stored
from benchmarks.replay.scenarios import Scenario
from service.domain.slo import Slo

#: Configuration 0 is the optimum, 1 close to it, 2 bad, 3 drowned; under the other load 2 is the optimum.
RATIOS = {"light": np.array([1.0, 1.04, 3.0, WORST_RATIO]), "heavy": np.array([2.0, 1.5, 1.0, WORST_RATIO])}
TRUTH = Truth(
    ratios=RATIOS,
    violating={name: np.array([0.0, 0.0, 0.1, 1.0]) for name in RATIOS},
    broken={name: np.array([0.0, 0.0, 1.0, 1.0]) for name in RATIOS},
    slo=Slo(0.05),
)
STILL = Scenario("stationary", "light", ("light",) * 10)


def run(path: list[int], choice: list[int] | None = None) -> Stored:
    return Stored("p", "s", 0, np.array(path, np.int16), np.array(choice or path, np.int16), ())


@pytest.mark.parametrize(
    ("within", "windows"),
    [
        ("1111111111", 0),
        ("0001111111", 3),
        ("0000000000", math.inf),
        ("1111111110", math.inf),  # Not at the end.
        ("0010111111", 2),  # One of eight missing: 7/8 ≥ 0.8.
        ("0010011111", 5),  # Two of eight missing: not settled before the second time.
        ("0000000001", math.inf),  # Luck.
        ("0000000111", math.inf),
        ("0000011111", 5),
        ("001", math.inf),
        ("011", 1),
        ("", math.inf),
    ],
)
def test_settled_means_there_and_staying(within: str, windows: float) -> None:
    assert settled(np.array([mark == "1" for mark in within], dtype=bool)) == windows


def test_the_first_touch_does_not_ask_to_stay() -> None:
    assert first(np.array([False, True, False])) == 1
    assert first(np.array([False, False])) == math.inf


def test_a_run_under_one_load() -> None:
    found = measure(run([3, 2, 1, 2, 0, 0, 0, 0, 0, 0]), STILL, TRUTH)
    assert found["settled_5"] == 2  # 7 of the 8 windows from there on.
    assert found["first_5"] == 2
    assert found["regret"] == pytest.approx(math.log(WORST_RATIO) + 2 * math.log(3) + math.log(1.04))
    assert found["violations"] == 2  # The first window is nobody's choice.
    assert found["violating"] == pytest.approx((1.0 + 2 * 0.1) / 10)
    assert found["switches"] == 4


def test_the_choice_counts_from_the_window_in_which_it_would_be_in_force() -> None:
    found = measure(run([3] * 10, choice=[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]), STILL, TRUTH)
    assert found["settled_5"] == math.inf
    assert found["choice_5"] == 2


def test_the_price_of_a_change_and_the_return() -> None:
    scenario = Scenario("return", "m", ("light",) * 4 + ("heavy",) * 4 + ("light",) * 4)
    found = measure(run([3, 0, 0, 0, 0, 1, 2, 2, 2, 0, 0, 0]), scenario, TRUTH)
    assert found["after_settled_5"] == pytest.approx((2 + 1) / 2)
    assert found["return_5"] == 1
    assert found["after_regret"] == pytest.approx((math.log(2) + math.log(1.5) + math.log(3)) / 2)
    # Of the first change the objective is never met again, by the table above: 2 breaks it.
    assert found["after_met"] == math.inf
