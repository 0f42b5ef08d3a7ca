"""A recording of a few configurations on a real server, cut short and taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.landscape import Replay, load
from models import export_model

pytestmark = pytest.mark.timeout(300)

ARGUMENTS = ["record", "half_plus_two", "--rate", "200", "--seconds", "0.2", "--configs", "4", "--passes", "1"]
# Tests run beside others: nobody waits for a quiet machine here.
ARGUMENTS += ["--attempts", "1", "--look-seconds", "0.2"]


def test_a_recording_makes_a_landscape_and_its_data_sheet(tmp_path: Path) -> None:
    export_model("half_plus_two", tmp_path / "models")
    folders = ["--models-dir", str(tmp_path / "models"), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*ARGUMENTS, *folders, "--name", "small", "--no-refine", "--repeats", "2"])
    assert result.exit_code == 0, result.output
    landscape = load(tmp_path / "small.parquet")
    assert landscape.workload.rate_per_second == 200
    assert len(Replay(landscape, 1.0).configs) == 4
    for m in landscape.measurements:
        assert m.succeeded == m.arrivals == m.latency.count > 10
        assert m.rejected == m.failed == 0
        assert m.cpu_seconds > 0
        assert (m.batch_size is not None) == m.config.enable_batching
    assert "200 requests/s" in (tmp_path / "small.md").read_text()
    assert not (tmp_path / "small.partial.jsonl").exists()


def test_a_model_that_is_not_in_the_zoo_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["record", "nothing", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "is not in the zoo" in result.output
    assert not list(tmp_path.iterdir())
