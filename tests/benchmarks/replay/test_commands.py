"""``regulus bench`` as a person calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.replay import command, results
from service.cli import bench

ROOT = Path(__file__).parents[3]


def test_a_quick_run_and_its_report(folder: Path, tmp_path: Path) -> None:
    """Every step from landscapes to the page."""
    out, pieces = tmp_path / "quick.parquet", tmp_path / "pieces"
    arguments = ["run", "--quick", "--landscapes", str(folder), "--out", str(out), "--pieces", str(pieces)]
    arguments += ["--seeds", "1", "--windows", "20"]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    found = results.load(out)
    assert set(found.policies) == set(command.QUICK_POLICIES)
    assert set(found.meta["costs"]) == set(command.QUICK_POLICIES)

    markdown, page = tmp_path / "benchmarks.md", tmp_path / "page.html"
    arguments = ["report", "--results", str(out), "--landscapes", str(folder), "--markdown", str(markdown)]
    told = CliRunner().invoke(app, [*arguments, "--html", str(page)])
    assert told.exit_code == 0, told.output
    assert "The targets" in told.output
    assert "### medium-heavy" in markdown.read_text(encoding="utf-8")
    assert page.stat().st_size > 50_000


def test_the_policies_can_be_listed() -> None:
    shown = CliRunner().invoke(app, ["run", "--list"])
    assert {"adaptive_rrl", "rrl", "dqn", "hill_climbing", "optuna_tpe", "oracle"} <= set(shown.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--landscapes", "/nowhere"], "error: landscapes: no *.parquet in /nowhere"),
        (["run", "--scenarios", "stpe"], "error: scenarios: 'stpe' is none of stationary, step"),
        (["report", "--results", "/nowhere.parquet"], "error: results: /nowhere.parquet cannot be read"),
    ],
)
def test_a_wrong_option_is_one_clear_line(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(said)
    assert refused.stderr.count("\n") == 1


def test_outside_a_checkout_it_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "_ROOT", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        bench._checkout()
    assert "needs a checkout of the repository" in capsys.readouterr().err


def test_without_the_extra_it_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "_NEEDED", ("pyarrow", "no_such_library"))
    with pytest.raises(SystemExit, match="2"):
        bench._checkout()
    assert "needs no_such_library: install the extra `bench`" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom service.cli.main import app\n"
        "app(['bench', '--help'], standalone_mode=False)\n"
        "heavy = {'matplotlib', 'pyarrow', 'sklearn', 'tensorflow', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "record" in ran.stdout
    assert "report" in ran.stdout
