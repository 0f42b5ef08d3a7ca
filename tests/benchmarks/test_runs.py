"""Each benchmark runs from its command to its files, at tiny settings."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import modelserver, switching
from benchmarks.capacity import capacities, slowest
from benchmarks.progress import Progress
from benchmarks.servers import batching_on, embedded
from models import export_model
from service.domain.serving_config import ServingConfig

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    export_model("half_plus_two", folder)
    return folder


def test_the_speed_benchmark_measures_every_contender(
    models_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", "half_plus_two", "--rounds", "1", "--seconds", "0.05", "--concurrency", "4"]
    status = modelserver.main([*arguments, "--models-dir", str(models_dir), "--out", str(tmp_path), "--markdown"])
    assert status == 0, capfd.readouterr().err
    document = json.loads((tmp_path / "modelserver.json").read_text())
    rates = {sample["subject"]: sample["requests_per_second"] for sample in document["samples"]}
    assert {subject.split("/")[0] for subject in rates} == {"bare", "echo", "grpc", "rest"}
    assert len(rates) == 3 + 1 + 1 + 5
    assert not any(sample["failed"] for sample in document["samples"])
    printed = capfd.readouterr().out
    assert printed.strip() == (tmp_path / "modelserver.md").read_text().strip()
    assert "### half_plus_two: requests a second and latency" in printed


def test_the_switching_benchmark_loses_no_request(
    models_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "half_plus_two", "--rate", "50", "--switches", "3", "--interval", "0.2"]
    status = switching.main([*arguments, "--models-dir", str(models_dir), "--out", str(tmp_path)])
    assert status == 0, capfd.readouterr().err
    document = json.loads((tmp_path / "switching.json").read_text())
    assert document["failed"] == 0
    assert len(document["switches"]) == 3
    assert document["targets"]["no failed request"] is True
    requests = np.load(tmp_path / "switching_requests.npz")
    assert len(requests["intended"]) == document["requests"] > 0
    assert set(requests["outcome"]) == {"OK"}


async def test_each_configuration_is_in_force_while_its_capacity_is_measured(models_dir: Path, tmp_path: Path) -> None:
    base = batching_on(2)
    configs = [base, base.with_values(enable_batching=False), base.with_values(max_batch_size=1)]
    told = io.StringIO()
    async with embedded("half_plus_two", models_dir, tmp_path) as node:
        before = (await node.backend.read()).generation
        # Long enough for an answer on a machine that stalls.
        rates = await capacities(node, "half_plus_two", configs, 0.5, Progress(3, told))
        after = await node.backend.read()
    assert len(rates) == 3
    assert min(rates) > 0
    assert (after.config, after.generation - before) == (configs[-1], 3)
    assert [line.rpartition("capacity with ")[2] for line in told.getvalue().splitlines()] == [
        config.describe() for config in configs
    ]


def test_the_slowest_configurations_are_those_that_take_least() -> None:
    configs = [ServingConfig(tensorflow_intra_op_parallelism=threads) for threads in (1, 2, 3, 4)]
    assert slowest(configs, [30.0, 10.0, 40.0, 20.0]) == [configs[1], configs[3]]


@pytest.mark.parametrize(
    "arguments", [["--peers"], ["--rounds", "0"], ["--models", "nothing"], ["--seconds", "0"], ["--concurrency", "0"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        modelserver.parse(arguments)
    assert refused.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--rate", "fast"], ["--rate", "0"], ["--switches", "0"], ["--interval", "-1"]])
def test_wrong_settings_of_switches_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        switching.parse(arguments)
    assert refused.value.code == 2
    assert "error:" in capsys.readouterr().err
