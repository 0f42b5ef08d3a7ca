"""`regulus bench live` from its command to its files, on a real server with real load."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.live import command
from benchmarks.live.command import live
from benchmarks.live.outcome import Steered, Switch
from benchmarks.live.steering import rehearse
from benchmarks.live.task import read_log, write_log
from benchmarks.replay.policies import factory_of
from models import export_model
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.learning.space import default_space

pytestmark = pytest.mark.timeout(300)

app = typer.Typer()
app.command()(live)
runner = CliRunner()


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "OUT", tmp_path / "out")
    return tmp_path / "out"


def test_policies_steer_a_live_server_one_after_another(tmp_path: Path, out: Path) -> None:
    export_model("half_plus_two", tmp_path / "models")
    results = tmp_path / "live.jsonl"
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP\n" + "".join(f"{i * i % 97 + i}\n" for i in range(400)))
    arguments = ["half_plus_two", "--quick", "--policies", "default,random", "--cells", "trace-5"]
    arguments += ["--trace", str(trace), "--seconds", "4", "--window", "0.5", "--slo-ms", "100", "--out", str(results)]
    answer = runner.invoke(app, [*arguments, "--models-dir", str(tmp_path / "models")])
    assert answer.exit_code == 0, answer.output
    header, bound, *runs = (json.loads(line) for line in results.read_text().splitlines())
    assert (header["model"], header["trace"]) == ("half_plus_two", "trace.csv")
    assert (bound["cell"], bound["bound_seconds"]) == ("trace-5", 0.1)
    assert {run["policy"] for run in runs} == {"default", "random"}
    # The same arrivals for everybody.
    assert len({run["requests"] for run in runs}) == 1
    for run in runs:
        assert run["windows"] > 0
        assert run["refused"] == 0
        assert sum(run["lost"].values()) == 0
        assert bool(run["switches"]) == (run["policy"] == "random")
        assert len(run["p99_by_second"]) >= 3
    assert "SLO violations" in (out / "live.md").read_text()

    # Again: everything is there, so no server is started and nothing is added.
    before = results.read_bytes()
    again = runner.invoke(app, [*arguments, "--models-dir", str(tmp_path / "absent")])
    assert again.exit_code == 0, again.output
    assert results.read_bytes() == before
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_cut_short_leaves_nothing_running(tmp_path: Path, told: signal.Signals) -> None:
    export_model("half_plus_two", tmp_path / "models")
    command_line = ["live", "half_plus_two", "--quick", "--models-dir", str(tmp_path / "models")]
    child = subprocess.Popen(
        [sys.executable, "-c", "from benchmarks.cli import app; app()", *command_line, "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    with child, child.stderr as said:
        assert any("capacity with" in line for line in said)
        assert _processes_that_name(tmp_path / "models") > 1
        child.send_signal(told)
        assert "the same command goes on from here" in said.read()
        assert child.wait(60) == 130
    assert _processes_that_name(tmp_path / "models") == 0


def _processes_that_name(path: Path) -> int:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(entry.read_bytes())
    return sum(str(path).encode() in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "not in the zoo"),
        (["--policies", "nobody"], "nobody"),
        (["--policies", "oracle"], "oracle"),
        (["--cells", "day-60"], "no cell"),
        (["--cells", "trace-60"], "--trace"),
        (["--seconds", "0"], "above 0"),
        (["--window", "-1"], "above 0"),
        (["--seconds", "4000"], "--long"),
        (["--trace", "absent.csv"], "cannot be read"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_starts(
    arguments: list[str], message: str, tmp_path: Path, out: Path
) -> None:
    answer = runner.invoke(app, [*arguments, "--out", str(tmp_path / "live.jsonl")])
    assert answer.exit_code == 2
    assert message in answer.output
    assert list(tmp_path.iterdir()) == []


def test_without_results_there_is_nothing_to_show(tmp_path: Path, out: Path) -> None:
    answer = runner.invoke(app, ["--show", "--out", str(tmp_path / "live.jsonl")])
    assert answer.exit_code == 1
    assert "holds no run" in answer.output


@pytest.mark.parametrize("name", ["default", "hill_climbing", "adaptive_rrl"])
def test_a_rehearsal_is_something_that_every_policy_can_do(name: str) -> None:
    rehearse(factory_of(name, {})(default_space(2.0), 0), ServingConfig(), Slo(0.05))


def test_the_log_comes_home_as_it_was_written(tmp_path: Path) -> None:
    switch = Switch(at=1.5, config="batch≤8", intent="explore", seconds=0.25)
    steered = Steered(windows=2, thinking=(0.1, 0.2), switches=(switch,), refused=1, peak_bytes=7)
    write_log(steered, tmp_path / "log.json")
    assert read_log(tmp_path / "log.json") == steered
