"""``regulus load`` against a server process."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.load import app
from tests.support.processes import free_port

ROOT = Path(__file__).parents[2]
# Lag makes no run of these tests invalid: the machine is shared.
LENIENT = ["--max-lag-ms", "60000"]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.echo_server"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        process.stdout.close()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service.cli.main", "load", *arguments]


def run(*arguments: str) -> Result:
    """Carry a call out, in this process."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: str) -> str:
    """What a call says that must not be carried out."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return str(result.stderr)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_run_prints_a_table_and_writes_json(server: dict[str, str], tmp_path: Path, protocol: str) -> None:
    path = tmp_path / "report.json"
    arguments = ["--model", "echo", "--schedule", "steps:0.5@20,0.5@60", "--arrivals", "regular", "--slo-ms", "9000"]
    done = run(server[protocol], *arguments, "--json", str(path), *LENIENT)
    for expected in ("40 / 40 / 40", "p99.9", "Phases", "20/s", "60/s", "0 (0.00%)"):
        assert expected in done.stdout
    report = json.loads(path.read_text())
    assert (report["scheduled"], report["ok"], report["valid"], report["slo_violation_ratio"]) == (40, 40, True, 0)
    assert [phase["scheduled"] for phase in report["phases"]] == [10, 30]
    assert report["latency"]["p99"] >= report["latency"]["p50"] > 0


def test_a_stream_is_one_json_line_a_second_and_the_report(server: dict[str, str]) -> None:
    done = run(server["grpc"], "--model", "echo", "--rate", "50", "--duration", "1.5", "--stream", *LENIENT)
    *seconds, report = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["type"] for line in seconds] == ["second"] * len(seconds)
    assert report["type"] == "report"
    assert len(seconds) >= 2
    assert sum(second["ok"] for second in seconds) == report["ok"] == report["scheduled"]
    assert "generator lag" in done.stderr


def test_a_trace_is_sped_up_to_the_rate_asked_for(server: dict[str, str], tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("time\n" + "".join(f"{i * 10}\n" for i in range(100)), encoding="utf-8")
    path = tmp_path / "report.json"
    arguments = ["--model", "echo", "--trace", str(trace), "--rate", "40", "--duration", "1", "--json", str(path)]
    run(server["grpc"], *arguments, *LENIENT)
    assert json.loads(path.read_text())["scheduled"] == 40


def test_an_invalid_run_says_so(server: dict[str, str]) -> None:
    # A rate that no machine reaches with one process.
    done = run(server["grpc"], "--model", "echo", "--rate", "300000", "--duration", "0.3", "--max-inflight", "200")
    assert "INVALID" in done.stdout
    assert "NOT_SENT" in done.stdout


def test_interrupting_prints_the_report_of_what_was_done(server: dict[str, str]) -> None:
    process = subprocess.Popen(
        command(server["grpc"], "--model", "echo", "--rate", "50", "--duration", "60", "--stream", *LENIENT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["type"] == "second"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    report = json.loads(stdout.splitlines()[-1])
    assert report["interrupted"]
    assert report["ok"] > 0
    assert "interrupted" in stderr


def test_interrupting_again_gives_up_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            command(target, "--model", "echo", "--rate", "1", "--duration", "60", "--timeout", "3600"),
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1000).startswith(b"GET /v1/models/echo/metadata")
            # Signals that the process has not yet taken merge into one, and one too many hits its shutdown; so two,
            # and more only where it goes on for long.
            for patience in (0.5, 10, 10, 10):
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=patience)
                    break
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr


def test_mistakes_are_one_clear_line(server: dict[str, str], tmp_path: Path) -> None:
    rate = ["--rate", "10", "--duration", "1"]
    grpc = server["grpc"]
    assert "does not serve model 'other'" in refused(grpc, "--model", "other", *rate)
    assert "it has serving_default, tokens" in refused(grpc, "--model", "echo", "--signature", "x", *rate)
    assert "server answers at" in refused(f"grpc://127.0.0.1:{free_port()}", "--model", "echo", *rate)
    assert "needs --rate" in refused(grpc, "--model", "echo", "--duration", "1")
    assert "needs --duration" in refused(grpc, "--model", "echo", "--rate", "1")
    assert "cv must be a number" in refused(grpc, "--model", "echo", "--arrivals", "gamma:cv=x", *rate)
    assert "--allow-remote" in refused("grpc://192.0.2.1:8500", "--model", "echo", *rate)
    assert "is not like grpc://" in refused("127.0.0.1:8500", "--model", "echo", *rate)
    assert "cannot be read" in refused(grpc, "--model", "echo", "--trace", str(tmp_path / "none.csv"))
    assert "needs --trace" in refused(grpc, "--model", "echo", "--trace-scale", "2", *rate)
    assert "timeout: must lie" in refused(grpc, "--model", "echo", "--timeout", "0", *rate)
    assert "no such folder" in refused(grpc, "--model", "echo", *rate, "--json", str(tmp_path / "no" / "report.json"))


def test_help_shows_examples() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "regulus load grpc://127.0.0.1:8500 --model mlp" in done.stdout
