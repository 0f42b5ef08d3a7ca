"""The report: what stands in it follows from the runs, and it is the same every time."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.replay import report, tables, targets
from benchmarks.replay.document import BEGIN, END, Document
from benchmarks.replay.policies import OURS
from benchmarks.replay.results import SECONDS_BOUNDS, Results, Stored
from benchmarks.replay.scenarios import DEFAULT_WINDOWS, scenarios
from benchmarks.replay.study import Study
from benchmarks.replay.world import Terrain, loads
from benchmarks.tables import Table

WINDOWS, SEEDS = 40, 6
#: Windows until each policy is at the optimum for good; None: it stays at the default.
STEPS = {OURS: 2, "hill_climbing": 6, "rrl": None, "default": None}
COSTS = {"observations": 500, "suggestions": 100, "p50_seconds": 0.01, "p99_seconds": 0.02, "peak_bytes": 5 << 20}


def stored(
    known: dict[str, Terrain], policy: str, steps: int | None, scenario: str, schedule: Any, seed: int
) -> Stored:
    """A run that is at the default until it jumps to the optimum of each load, later with each seed above the fifth."""
    path, there, wait = [], None, 0
    for landscape in schedule:
        if landscape != there:
            there, wait = landscape, 0
        arrived = steps is not None and wait >= steps + max(seed - 4, 0)
        path.append(known[landscape].best if arrived else known[landscape].start)
        wait += 1
    seconds = [0] * (len(SECONDS_BOUNDS) + 1)
    seconds[30] = len(schedule)
    line = np.array(path, np.int16)
    return Stored(policy, scenario, seed, line, line, tuple(seconds))


def studied(known: dict[str, Terrain], steps: dict[str, int | None], **meta: Any) -> Study:
    runs = [
        stored(known, policy, wait, one.name, one.schedule, seed)
        for policy, wait in steps.items()
        for one in scenarios(loads(one.landscape for one in known.values()), windows=WINDOWS)
        for seed in range(SEEDS)
    ]
    prints = {name: f"hash of {name}" for name in known}
    whole = {
        "windows": WINDOWS,
        "seeds": SEEDS,
        "landscapes": prints,
        "machine": {},
        "left_out": {},
        "costs": {OURS: COSTS},
        "cost_observations": 500,
        "cost_landscape": "medium-light",
    }
    return Study(Results(whole | meta, tuple(runs)), known, prints)


@pytest.fixture(scope="module")
def study(known: dict[str, Terrain]) -> Study:
    return studied(known, STEPS)


def cell(table: Table, row: str, column: str) -> str:
    (found,) = [cells for cells in table.rows if cells[0] == row]
    return found[list(table.header).index(column)]


def test_a_stationary_table_says_how_long_each_took_and_ranks_by_regret(
    study: Study, known: dict[str, Terrain]
) -> None:
    (scenario,) = [one for one in study.of_kind("stationary") if one.group == "medium-heavy"]
    table = tables.stationary(study, scenario)
    assert [row[0] for row in table.rows] == [OURS, "hill_climbing", "rrl", "default"]
    assert cell(table, OURS, "windows to 5 %") == "2 [2, 2]"
    assert cell(table, "rrl", "windows to 5 %") == "> 40 [> 40, > 40]"
    assert cell(table, "rrl", "runs that settle, %") == "0"
    # The default drowns: each window counts ln 20 until the jump, and the first is nobody's choice.
    assert cell(table, "default", "regret") == f"{40 * math.log(20):.0f} [120, 120]"
    assert cell(table, OURS, "windows in violation").startswith(f"{1 + 1 / 6:.2f} ")
    assert cell(table, OURS, f"regret / {OURS}") == ""
    assert float(cell(table, "hill_climbing", f"regret / {OURS}").split()[0]) == pytest.approx(
        (6 * 6 + 1) / 13, abs=0.01
    )


def test_a_changing_load_counts_from_the_change(study: Study) -> None:
    table = tables.changes(study, study.of_kind("return")[0])
    assert cell(table, OURS, "windows to 5 % once the load returns") == "2 [2, 2]"
    # Six windows of eight are too late to tell whether it stays.
    assert cell(table, "hill_climbing", "windows to 5 % once the load returns") == "> 8 [> 8, > 8]"
    assert table.note == (
        "Loads: medium-light for 20 windows, then medium-heavy for 12 windows, then medium-light for 8 windows."
    )


def results_of(study: Study) -> dict[tuple[str, str], bool]:
    return {(check.target.split(".")[0], check.place): check.reached for check in targets.checks(study)}


def test_targets_are_reached_and_missed_by_what_was_found(study: Study) -> None:
    assert results_of(study) == {
        ("1", "medium-light"): True,
        ("1", "medium-heavy"): True,
        ("2", "medium-light"): True,  # 40 or more against 2.
        ("2", "medium-heavy"): True,
        ("3", "medium-light"): True,  # 6 against 2.
        ("3", "medium-heavy"): True,
        ("4", "medium"): False,  # 2 windows where 1 is asked for.
        ("5", "medium-light"): True,
        ("5", "medium-heavy"): True,
        ("6", "medium-light"): True,
    }


def test_close_rivals_and_slow_suggestions_make_targets_missed(known: dict[str, Terrain]) -> None:
    slow = {OURS: COSTS | {"p99_seconds": 0.2}}
    found = results_of(studied(known, {OURS: 9, "hill_climbing": 10, "rrl": 20}, costs=slow))
    assert not any(found.values())


def test_nobody_is_held_against_who_does_not_search(known: dict[str, Terrain]) -> None:
    checks = targets.checks(studied(known, {OURS: 2, "guide": 1, "hill_climbing": 6}))
    (violations,) = [one for one in checks if one.target.startswith("5") and one.place == "medium-heavy"]
    assert violations.against.startswith("hill_climbing")
    (best,) = [one for one in checks if one.target.startswith("3") and one.place == "medium-heavy"]
    assert best.against.startswith("guide")
    assert not best.reached


def test_a_run_that_never_settles_is_a_lower_bound(study: Study) -> None:
    (check,) = [one for one in targets.checks(study) if one.target.startswith("2") and one.place == "medium-light"]
    assert check.against == "rrl: > 40 [> 40, > 40] windows; ≥ 20.0 [20.0, 20.0] ×"


def test_ablations_are_compared_with_the_whole(known: dict[str, Terrain], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ABLATIONS", {"without a": None, "without b": None})
    table = tables.ablation(studied(known, {OURS: 3, "without a": 9, "without b": 3}))
    assert table is not None
    assert [row[-1] for row in table.rows] == ["", "helps", "no difference seen"]
    assert tables.ablation(studied(known, {OURS: 3})) is None


@pytest.fixture(scope="module")
def written(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the whole report; drawing takes seconds."""
    return _write(study, tmp_path_factory.mktemp("report"))


def _write(study: Study, folder: Path) -> Path:
    document = report.build(study, folder / "benchmarks", "benchmarks")
    document.write_markdown(folder / "benchmarks.md")
    document.write_html(folder / "benchmarks.html", folder)
    return folder


def test_the_report_names_the_command_that_makes_such_runs(study: Study, known: dict[str, Terrain]) -> None:
    assert "made by `regulus bench run --windows 40 --seeds 6`," in report._provenance(study)
    whole = studied(known, {OURS: 2}, windows=DEFAULT_WINDOWS, seeds=report.SEEDS)
    assert "made by `regulus bench run`," in report._provenance(whole)


def test_the_report_is_the_same_every_time(study: Study, written: Path, tmp_path: Path) -> None:
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (written, _write(study, tmp_path))
    )
    assert first == second
    assert len(first) > 10


def test_the_report_names_every_plot_it_wrote_and_no_other(written: Path) -> None:
    body = (written / "benchmarks.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(benchmarks/([^)]+\.svg)\)", body))
    assert named == {path.name for path in (written / "benchmarks").iterdir()}
    for path in (written / "benchmarks").iterdir():
        drawn = path.read_text(encoding="utf-8")
        assert "<text" in drawn, path.name  # Letters, not outlines.
        assert "<dc:date>" not in drawn, path.name


def test_plots_of_an_earlier_report_go(study: Study, tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "regret-gone.svg").write_text("<svg/>")
    (tmp_path / "benchmarks" / "live.svg").write_text("<svg/>")
    live = "Measured live.\n\n![Live](benchmarks/live.svg)\n"
    body = report.build(study, tmp_path / "benchmarks", "benchmarks", live).body
    assert "## On the live server\n\nMeasured live." in body
    assert (tmp_path / "benchmarks" / "live.svg").exists()
    assert not (tmp_path / "benchmarks" / "regret-gone.svg").exists()


def test_one_page_needs_nothing_else(written: Path) -> None:
    page = (written / "benchmarks.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/svg+xml;base64,') > 8
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<table>" in page


def test_landscapes_recorded_anew_are_pointed_out(study: Study, tmp_path: Path) -> None:
    changed = Study(study.results, study.known, {**study.fingerprints, "medium-heavy": "another"})
    assert "do not fit: medium-heavy." in report.build(changed, tmp_path / "x", "x").body
    assert "do not fit" not in report.build(study, tmp_path / "x", "x").body


def test_what_stands_outside_the_markers_stays(tmp_path: Path) -> None:
    path = tmp_path / "b.md"
    Document("Benchmarks", "one\n").write_markdown(path)
    assert path.read_text() == f"# Benchmarks\n\n{BEGIN}\none\n{END}\n"
    path.write_text(f"# Mine\n\nbefore\n\n{BEGIN}\none\n{END}\n\nafter\n")
    Document("Benchmarks", "two\n").write_markdown(path)
    assert path.read_text() == f"# Mine\n\nbefore\n\n{BEGIN}\ntwo\n{END}\n\nafter\n"
