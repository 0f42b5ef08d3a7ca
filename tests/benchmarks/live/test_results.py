"""The file of results: what was done is never done again, and what is no such file is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.live.plan import CELLS, Cell, Turn
from benchmarks.live.results import Results
from benchmarks.live.session import Options, left_to_do
from service.domain.errors import InvalidValueError
from tests.benchmarks.live.runs import HEADER, outcome

STEP = Cell("step", 60)


def options(path: Path) -> Options:
    return Options(
        model="mlp",
        policies=("default", "guide"),
        cells=(STEP,),
        repeats=2,
        seconds=6.0,
        look_seconds=1.0,
        patience_seconds=1.0,
        attempts=1,
        window_seconds=2.5,
        trace=None,
        bound_seconds=None,
        out=path,
        models_dir=path.parent,
        seed=0,
    )


def begun(path: Path) -> Results:
    results = Results(path)
    results.begin({**HEADER, **options(path).compared})
    return results


def test_everything_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "live.jsonl"
    results = begun(path)
    results.bound(STEP, 0.05, {"batch≤8": 0.025})
    results.add(Turn(0, STEP, "guide"), outcome(0.1, 0.2))
    again = Results(path)
    assert again.header == results.header
    assert again.bounds == {"step-60": 0.05}
    assert again.runs == results.runs
    assert again.has(Turn(0, STEP, "guide"))
    assert not again.has(Turn(1, STEP, "guide"))


def test_a_cut_line_is_dropped_and_its_turn_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    results = begun(path)
    results.add(Turn(0, STEP, "guide"), outcome(0.1, 0.2))
    results.add(Turn(0, STEP, "default"), outcome(0.1, 0.2))
    text = path.read_text()
    path.write_text(text[:-20])
    again = Results(path)
    assert [run["policy"] for run in again.runs] == ["guide"]
    again.add(Turn(0, STEP, "default"), outcome(0.3, 0.2))
    assert [run["policy"] for run in Results(path).runs] == ["guide", "default"]


def test_turns_that_were_taken_are_not_taken_again(tmp_path: Path) -> None:
    results = begun(tmp_path / "live.jsonl")
    wanted = options(tmp_path / "live.jsonl")
    before = left_to_do(wanted, results)
    results.add(before[1], outcome(0.1, 0.2))
    assert left_to_do(wanted, results) == [before[0], *before[2:]]
    more = left_to_do(replace(wanted, policies=("default", "guide", "rrl"), repeats=3), results)
    assert len(more) == 3 * 3 - 1
    assert before[1] not in more


@pytest.mark.parametrize(
    "changes",
    [{"model": "cnn"}, {"seconds": 7.0}, {"seed": 1}, {"window_seconds": 3.0}],
    ids=lambda one: next(iter(one)),
)
def test_runs_of_another_comparison_are_not_mixed_in(tmp_path: Path, changes: dict[str, object]) -> None:
    results = begun(tmp_path / "live.jsonl")
    with pytest.raises(InvalidValueError, match="name another file"):
        left_to_do(replace(options(tmp_path / "live.jsonl"), **changes), results)


def test_a_trace_is_asked_for_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="--trace"):
        left_to_do(replace(options(tmp_path / "live.jsonl"), cells=CELLS), Results(tmp_path / "live.jsonl"))


@pytest.mark.parametrize("text", ['{"a": 1}\n', "no JSON\n", "[1, 2]\n", '{"kind": "run"}\n'])
def test_what_is_no_file_of_results_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "live.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidValueError, match=r"live\.jsonl"):
        Results(path)
