"""Scenarios: which load each window has."""

from __future__ import annotations

import pytest

from benchmarks.replay.scenarios import KINDS, scenarios

LOADS = {"a": ("a-light", "a-heavy"), "b": ("b-only",)}


def test_each_landscape_has_a_stationary_run_and_each_model_with_two_loads_the_changing_ones() -> None:
    names = [scenario.name for scenario in scenarios(LOADS)]
    assert names == [
        "stationary:a-light",
        "stationary:a-heavy",
        "stationary:b-only",
        "step:a",
        "return:a",
        "spike:a",
        "diurnal:a",
    ]


@pytest.mark.parametrize("windows", [10, 37, 100, 150])
def test_a_run_is_as_long_as_asked(windows: int) -> None:
    assert {len(scenario.schedule) for scenario in scenarios(LOADS, windows=windows)} == {windows}


def test_the_load_returns() -> None:
    (scenario,) = scenarios(LOADS, ["return"], 100)
    assert [(phase.landscape, phase.windows) for phase in scenario.phases] == [
        ("a-light", 50),
        ("a-heavy", 30),
        ("a-light", 20),
    ]


def test_spikes_are_short() -> None:
    (scenario,) = scenarios(LOADS, ["spike"], 100)
    assert [phase.windows for phase in scenario.phases if phase.landscape == "a-heavy"] == [5, 5]


@pytest.mark.parametrize("names", [("light", "heavy"), ("light", "middle", "heavy")])
def test_a_day_begins_and_ends_light_and_is_heavy_half_of_the_time(names: tuple[str, ...]) -> None:
    (scenario,) = scenarios({"a": names}, ["diurnal"], 100)
    assert scenario.schedule[0] == scenario.schedule[-1] == names[0]
    assert scenario.schedule[25] == scenario.schedule[75] == names[-1]
    mean = sum(names.index(name) for name in scenario.schedule) / 100 / (len(names) - 1)
    assert mean == pytest.approx(0.5, abs=0.02)


def test_only_the_kinds_asked_for() -> None:
    assert {scenario.kind for scenario in scenarios(LOADS, ["step", "diurnal"])} == {"step", "diurnal"}
    assert {scenario.kind for scenario in scenarios(LOADS)} == set(KINDS)
