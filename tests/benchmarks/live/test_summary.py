"""What is made of the runs: comparisons, tables, the plot, the part of the documentation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.live import summary
from benchmarks.live.plan import Cell, Turn
from benchmarks.live.plots import by_second
from benchmarks.live.report import PLOT, section, tables
from benchmarks.live.results import Results
from benchmarks.live.summary import Study
from benchmarks.live.tables import change
from benchmarks.statistics import Estimate
from tests.benchmarks.live.runs import HEADER, filled, outcome

STEP, GAMMA = Cell("step", 60), Cell("gamma", 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    filled(tmp_path / "live.jsonl")
    return tmp_path / "live.jsonl"


@pytest.fixture
def study(path: Path) -> Study:
    return Study.of(Results(path))


def test_policies_come_with_the_fewest_violations_first(study: Study) -> None:
    assert study.policies == ["adaptive_rrl", "default"]
    assert study.cells == [STEP, GAMMA]


def test_runs_are_compared_on_the_same_arrivals(study: Study) -> None:
    step = study.pairs("adaptive_rrl", [STEP])
    assert [(ours["repeat"], ours["cell"]) for ours, _ in step] == [(base["repeat"], base["cell"]) for _, base in step]
    ratio = summary.p99_ratio(step)
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.1, 0.1, 0.1))
    everywhere = summary.p99_ratio(study.pairs("adaptive_rrl", [STEP, GAMMA]))
    assert everywhere is not None
    assert everywhere.value == pytest.approx(math.sqrt(0.1 * 0.4))
    assert everywhere.low < everywhere.value < everywhere.high
    broken = summary.violation_ratio(step)
    assert broken is not None
    assert broken.value == pytest.approx(0.2)


def test_a_run_without_the_defaults_is_not_compared(tmp_path: Path) -> None:
    results = Results(tmp_path / "live.jsonl")
    results.begin(HEADER)
    results.add(Turn(0, STEP, "guide"), outcome(0.1, 0.0))
    study = Study.of(results)
    assert study.pairs("guide", study.cells) == []
    assert summary.p99_ratio([]) is None
    assert change(None) == "–"
    results.add(Turn(0, STEP, "default"), outcome(0.1, 0.0))
    unbroken = summary.violation_ratio(Study.of(results).pairs("guide", [STEP]))
    assert unbroken is not None
    assert unbroken.value == 1.0


def test_violations_where_the_default_has_none_are_endless() -> None:
    pair = (outcome(0.1, 0.1), outcome(0.1, 0.0))
    ratio = summary.violation_ratio([pair])
    assert ratio is not None
    assert change(ratio) == "∞"


def test_an_objective_that_half_of_the_runs_never_meet_is_never_met() -> None:
    runs = [outcome(0.1, 0.1, met_after=value) for value in (2.0, None, None)]
    assert math.isinf(summary.met_after(runs))
    assert summary.met_after(runs[:2]) == 2.0


def test_a_change_is_written_in_percent() -> None:
    assert change(Estimate(0.111, 0.08, 0.15)) == "−88.9 % [−92.0 %, −85.0 %]"
    assert change(Estimate(1.5, math.nan, math.nan)) == "+50.0 %"
    assert change(Estimate(2.5, math.nan, math.nan)) == "× 2.5"


def test_the_tables_hold_every_cell_and_policy(path: Path) -> None:
    against, step, gamma = tables(path)
    assert [row[0] for row in against.rows] == ["adaptive_rrl"]
    assert against.rows[0][1:3] == ["12", "−90.0 % [−90.0 %, −90.0 %]"]
    assert "step schedule" in step.title
    assert "Gamma" in gamma.title
    for table in (step, gamma):
        assert [row[0] for row in table.rows] == ["adaptive_rrl", "default"]
        assert {len(row) for row in table.rows} == {len(table.header)}
    compared = gamma.header.index("against default")
    assert [row[compared] for row in gamma.rows] == ["−60.0 % [−60.0 %, −60.0 %]", ""]
    met = step.header.index("met after, s")
    assert [row[met] for row in step.rows] == ["3", "never"]


def test_the_part_of_the_documentation_holds_tables_and_plot(path: Path, tmp_path: Path) -> None:
    text = section(path, tmp_path / "images", "benchmarks")
    choices = "--policies adaptive_rrl,default --cells step-60,gamma-60 --repeats"
    assert f"`regulus bench live mlp` with `{choices}" in " ".join(text.split())
    assert f"(benchmarks/{PLOT})" in text
    assert text.count("| --- |") == 3
    drawn = (tmp_path / "images" / PLOT).read_text()
    assert "adaptive_rrl" in drawn
    assert "highest step 60 % of capacity" in drawn
    assert section(path, tmp_path / "again", "benchmarks") == text
    assert (tmp_path / "again" / PLOT).read_bytes() == (tmp_path / "images" / PLOT).read_bytes()


def test_without_runs_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert section(tmp_path / "absent.jsonl", tmp_path, "benchmarks") == ""


def test_a_second_is_the_median_of_the_runs_that_have_it() -> None:
    runs = [{"p99_by_second": [0.1, None, 0.3]}, {"p99_by_second": [0.3, None]}]
    np.testing.assert_array_equal(by_second(runs), [0.2, np.nan, 0.3])
