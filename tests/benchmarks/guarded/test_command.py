"""`python -m benchmarks.guarded` from its command line to its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.guarded.__main__ import LANDSCAPES, main, parse
from benchmarks.guarded.live import markdown
from benchmarks.live.plan import Cell, Turn
from benchmarks.live.results import Results
from benchmarks.live.summary import Study
from benchmarks.live.task import GUARDED, Task
from tests.benchmarks.guarded.conftest import NAME


def test_pairs_are_played_published_and_not_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = tmp_path / "docs.md"
    docs.write_text("before\n<!-- guarded: begin -->\nwhat stood here\n<!-- guarded: end -->\nafter\n")
    arguments = ["--variants", "guarded:random", "--only", NAME, "--windows", "3", "--seeds", "1", "--workers", "1"]
    arguments += ["--out", str(tmp_path / "out"), "--docs", str(docs)]
    assert main(arguments) == 0
    found = json.loads((tmp_path / "out" / "guarded.json").read_text())
    assert [run["variant"] for run in found["runs"]] == ["guarded:random", "unguarded:random"]
    assert all(sum(run["requests"]) > 0 for run in found["runs"])
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "what stood here" not in text
    assert f"random, stationary:{NAME}" in text
    assert (tmp_path / "docs" / "guarded.svg").read_text() == (tmp_path / "out" / "guarded.svg").read_text()
    capsys.readouterr()
    assert main(arguments) == 0
    assert "left" not in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "guarded.json").read_text()) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "nobody"], "nobody is none of"),
        (["--only", "nowhere"], "nowhere"),
        (["--landscapes", "absent"], "absent"),
    ],
)
def test_what_is_not_there_is_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--seeds", "-1"], ["--kinds", "spike"], ["--model", "x"], ["--level", "0"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert arguments[0] in capsys.readouterr().err
    assert parse([]).landscapes == LANDSCAPES


def test_live_results_are_compared_in_pairs(tmp_path: Path) -> None:
    results = Results(tmp_path / "live.jsonl")
    machine = {"processor": "one", "cpus": 2, "python": "3", "tensorflow": "2", "load_average_before": 0.1}
    results.begin({"model": "mlp", "seconds": 6.0, "machine": machine})
    for repeat in range(3):
        for policy, violations in (("random", 0.4), (f"{GUARDED}random", 0.1)):
            run = {
                "violation_ratio": violations,
                "p50": 0.01,
                "p99": violations,
                "p99_thirds": [violations] * 3,
                "met_after": None if policy == "random" else 4.0,
                "switches": [[1.0, "a", "explore", 0.1]] * (repeat + 1),
                "lost": {},
                "windows": 3,
                "suggestion_p99": 0.01,
                "foreign_cpu_share": 0.0,
            }
            results.add(Turn(repeat, Cell("step", 60), policy), run)
    text = markdown(Study.of(results))
    assert "| random | 3 | 400.0 | 100.0 | −75.0 % | −75.0 % | never | 4 | 2.0 | 2.0 |" in text


def test_a_guarded_policy_is_steered_by_the_loop_itself() -> None:
    def program(policy: str) -> str:
        return Task(
            policy=policy, seed=0, model="m", agent="", metrics="", slo={}, loop={}, seconds=1.0, log=""
        ).program

    assert program("random") == "benchmarks.live.steering"
    assert program(f"{GUARDED}random") == "benchmarks.guarded.steering"
