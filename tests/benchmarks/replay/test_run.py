"""Running: the same whatever the workers, resumed where it stopped, and what is kept when something fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.replay import fingerprint, results
from benchmarks.replay.results import Results, Stored
from benchmarks.replay.run import Options, Outcome, run
from benchmarks.replay.runner import carry_out_all
from service.domain.errors import InvalidValueError
from tests.support.processes import wait_until


def options(folder: Path, scratch: Path, **changes: object) -> Options:
    values: dict[str, object] = {
        "landscapes": folder,
        "policies": ("hill_climbing", "random"),
        "kinds": ("stationary", "return"),
        "seeds": 6,
        "windows": 12,
        "workers": 2,
        "scratch": scratch,
        "costs": False,
    }
    return Options(**(values | changes))  # type: ignore[arg-type]


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pieces")


@pytest.fixture(scope="module")
def outcome(folder: Path, scratch: Path) -> Outcome:
    return run(options(folder, scratch), quiet)


def test_every_policy_meets_every_scenario_with_every_seed(outcome: Outcome) -> None:
    assert not outcome.failures
    met = {(one.policy, one.scenario, one.seed) for one in outcome.results.runs}
    scenarios = ("stationary:medium-light", "stationary:medium-heavy", "return:medium")
    assert met == {(p, s, n) for p in ("hill_climbing", "random") for s in scenarios for n in range(6)}


def paths(outcome: Outcome) -> list[tuple[object, ...]]:
    return [(one.policy, one.scenario, one.seed, one.path.tolist()) for one in outcome.results.runs]


def test_one_worker_finds_the_same_as_two(outcome: Outcome, folder: Path, tmp_path: Path) -> None:
    assert paths(run(options(folder, tmp_path, workers=1), quiet)) == paths(outcome)


def test_what_is_done_is_not_done_again(outcome: Outcome, folder: Path, scratch: Path) -> None:
    told: list[tuple[int, int]] = []
    before = {path: path.stat().st_mtime_ns for path in scratch.iterdir()}
    again = run(options(folder, scratch), lambda done, total: told.append((done, total)))
    assert told == [(12, 12)]
    assert again.skipped == 12
    assert paths(again) == paths(outcome)
    assert {path: path.stat().st_mtime_ns for path in scratch.iterdir()} == before


def test_more_seeds_keep_what_is_done(outcome: Outcome, folder: Path, scratch: Path) -> None:
    told: list[tuple[int, int]] = []
    run(options(folder, scratch, seeds=5, policies=("random",)), lambda done, total: told.append((done, total)))
    assert told[0] == (3, 3)


def test_other_windows_are_other_runs(outcome: Outcome, folder: Path, scratch: Path) -> None:
    told: list[tuple[int, int]] = []
    changed = options(folder, scratch, windows=10, policies=("random",), kinds=("return",))
    run(changed, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 2)


def test_unknown_names_are_refused_before_anything_runs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="'hill' is none of"):
        run(options(folder, tmp_path, policies=("hill",)), quiet)
    with pytest.raises(InvalidValueError, match=r"no \*\.parquet"):
        run(options(tmp_path, tmp_path), quiet)


class Piece:
    """A job for the runner: leaves a file, or fails."""

    def __init__(self, file: Path, *, fails: bool = False) -> None:
        self.file = file
        self.fails = fails

    @property
    def done(self) -> bool:
        return self.file.exists()

    def carry_out(self) -> None:
        if self.fails:
            raise ValueError("no luck")
        self.file.write_text(os.environ["OMP_NUM_THREADS"])

    def __str__(self) -> str:
        return self.file.name


def test_a_failure_is_told_and_stops_nobody_else(tmp_path: Path) -> None:
    jobs = [Piece(tmp_path / "a", fails=True), Piece(tmp_path / "b"), Piece(tmp_path / "c")]
    finished: list[None] = []
    failures = carry_out_all(jobs, 1, lambda: finished.append(None))
    assert [str(failure) for failure in failures] == ["a: ValueError: no luck"]
    assert [job.done for job in jobs] == [False, True, True]
    assert len(finished) == 3


def test_a_worker_computes_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    job = Piece(tmp_path / "threads")
    carry_out_all([job], 1, lambda: None)
    assert job.file.read_text() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM"])
def test_an_interrupt_keeps_what_is_done_and_leaves_no_worker(by: str, folder: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "service.cli.main", "bench", "run", "--landscapes", str(folder), "--no-costs"]
    command += ["--policies", "random", "--seeds", "4000", "--windows", "100", "--workers", "2"]
    command += ["--pieces", str(tmp_path / "pieces"), "--out", str(tmp_path / "out.parquet")]
    with subprocess.Popen(command, cwd=root, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(tmp_path.glob("pieces/*.parquet")), what="a piece is done")
        if by == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to the workers too.
        else:
            process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()  # Ends when no process of the group holds it open.
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    for piece in tmp_path.glob("pieces/*.parquet"):
        assert len(results.load(piece).runs) == 5
    assert not (tmp_path / "out.parquet").exists()


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    run_ = Stored("p", "stationary:x", 3, np.array([1, 2], np.int16), np.array([2, 2], np.int16), (0, 2, 1))
    results.save(Results({"windows": 2}, (run_,)), tmp_path / "r.parquet")
    found = results.load(tmp_path / "r.parquet")
    assert found.meta == {"windows": 2}
    (one,) = found.runs
    assert (one.policy, one.scenario, one.seed, one.seconds) == ("p", "stationary:x", 3, (0, 2, 1))
    assert one.path.tolist() == [1, 2]
    assert one.choice.tolist() == [2, 2]


def test_what_holds_no_results_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="holds no results"):
        results.load(folder / "medium-light.parquet")
    with pytest.raises(InvalidValueError, match="cannot be read"):
        results.load(tmp_path / "none.parquet")


def test_a_fingerprint_follows_imports_but_not_into_what_is_not_imported(tmp_path: Path) -> None:
    policy = fingerprint.of_code("service.learning.policy")
    assert policy == fingerprint.of_code("service.learning.policy")
    assert policy != fingerprint.of_code("service.learning.space")


def test_a_fingerprint_changes_with_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "service"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "upper.py").write_text("from service import lower\n")
    (package / "lower.py").write_text("A = 1\n")
    (package / "beside.py").write_text("B = 1\n")
    monkeypatch.setattr(fingerprint, "_ROOT", tmp_path)

    def taken() -> str:
        fingerprint.of_code.cache_clear()
        return fingerprint.of_code("service.upper")

    first = taken()
    (package / "beside.py").write_text("B = 2\n")
    assert taken() == first
    (package / "lower.py").write_text("A = 2\n")
    assert taken() != first
    fingerprint.of_code.cache_clear()
