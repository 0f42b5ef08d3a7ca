from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import calibration
from benchmarks.foresight import shares_held
from benchmarks.replay.world import Terrain
from service.domain.slo import Slo

SLO = Slo(0.05)
STEPS = (1, 4)


@pytest.mark.parametrize("own", [False, True])
def test_most_truths_lie_in_their_intervals_and_the_shares_are_the_same_every_time(
    known: Mapping[str, Terrain], own: bool
) -> None:
    land = known["medium-light"]
    held = shares_held(land, SLO, 0, STEPS, own=own)
    assert tuple(held) == STEPS
    assert held[1] >= 0.8
    assert shares_held(land, SLO, 0, STEPS, own=own) == held


def test_no_interval_holds_a_truth_that_is_not_what_the_windows_show(known: Mapping[str, Terrain]) -> None:
    land = known["medium-light"]
    assert shares_held(replace(land, tails=100 * land.tails), SLO, 0, STEPS, own=False) == dict.fromkeys(STEPS, 0.0)


def test_the_command_shows_the_performance_model_and_the_learner(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibration.main([str(folder / "medium-light.parquet"), "--seeds", "1"]) == 0
    shown = capsys.readouterr().out
    assert "medium-light: 36 configurations" in shown
    assert "medium-light: what the learner says" in shown
