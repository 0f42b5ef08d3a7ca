"""What commands say when the service is not there, is something else, or wants a token; and that they start fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import COMMANDS, app
from tests.support.processes import free_port

ASKING = ["status", "recommend", "slo", "mode", "decisions", "config", "rollback"]


@contextmanager
def _answering(status: int, body: bytes, kind: str = "application/json") -> Iterator[tuple[str, list[str]]]:
    """Any HTTP service; yields its URL and the Authorization headers it was sent."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join(timeout=5)


@pytest.mark.parametrize("command", ASKING)
def test_a_service_that_is_not_there_is_one_line_and_status_3(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--url", f"http://127.0.0.1:{free_port()}"])

    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith("error: no control service at http://127.0.0.1:")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8510", "ftp://127.0.0.1", "http://[::1", "nonsense"])
def test_a_url_that_is_none_is_a_usage_error(url: str) -> None:
    result = CliRunner().invoke(app, ["status", "--url", url])

    assert result.exit_code == 2
    assert "is not a URL" in result.stderr


def test_a_service_that_does_not_answer_in_time_is_told() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = CliRunner().invoke(app, ["status", "--url", url, "--timeout", "0.1"])

    assert result.exit_code == 3
    assert "did not answer within 0.1 s" in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(200, b"<html>hello</html>", "text/html"), (404, b"{}", "application/json"), (502, b"bad gateway", "text/plain")],
)
def test_something_else_at_that_address_is_told_apart(status: int, body: bytes, kind: str) -> None:
    with _answering(status, body, kind) as (url, _):
        result = CliRunner().invoke(app, ["status", "--url", url])

    assert result.exit_code == 1
    assert f"answered {status} and is no Regulus control service" in result.stderr


def test_a_fault_of_the_service_is_told_with_its_request_id() -> None:
    problem = {"title": "The history cannot be used", "detail": "locked", "status": 503, "request_id": "abc"}
    with _answering(503, json.dumps(problem).encode()) as (url, _):
        result = CliRunner().invoke(app, ["status", "--url", url])

    assert result.exit_code == 1
    assert result.stderr == "error: The history cannot be used: locked (request_id abc)\n"


def test_text_from_the_service_cannot_rewrite_the_terminal() -> None:
    problem = {"title": "Refused", "detail": "\x1b[2J\x1b]0;owned\x07gone", "status": 400}
    with _answering(400, json.dumps(problem).encode()) as (url, _):
        result = CliRunner().invoke(app, ["status", "--url", url])

    assert "\x1b" not in result.stderr
    assert "gone" in result.stderr


def test_one_of_several_models_must_be_named() -> None:
    models = {"models": [{"name": "a"}, {"name": "b"}]}
    with _answering(200, json.dumps(models).encode()) as (url, _):
        result = CliRunner().invoke(app, ["slo", "--url", url])

    assert result.exit_code == 2
    assert result.stderr == "error: name a model; there are 2: a, b\n"


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    monkeypatch.setenv("REGULUS_TOKEN", "from-the-environment")
    with _answering(200, b'{"models": []}') as (url, seen):
        CliRunner().invoke(app, ["status", "--url", url])
        CliRunner().invoke(app, ["status", "--url", url, "--token-file", str(file)])
        monkeypatch.delenv("REGULUS_TOKEN")
        CliRunner().invoke(app, ["status", "--url", url])
        missing = CliRunner().invoke(app, ["status", "--url", url, "--token-file", str(tmp_path / "none")])

    assert seen == ["Bearer from-the-environment", "Bearer from-a-file", ""]
    assert missing.exit_code == 2


@pytest.mark.parametrize("command", ASKING)
def test_help_tells_the_exit_statuses(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])

    assert shown.exit_code == 0
    assert "3 the service did not answer" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in [*ASKING, "serve"])])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['regulus', *{arguments!r}]\n"
        "try:\n"
        "    runpy.run_module('service.cli.main', run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "heavy = {'fastapi', 'uvicorn', 'sklearn', 'skopt', 'scipy', 'numpy', 'sqlalchemy', 'tensorflow', 'grpc'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "HEAVY []"


def test_a_command_that_is_nearly_right_is_suggested() -> None:
    result = CliRunner().invoke(app, ["staus"])

    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.stderr


def test_every_command_has_its_line_in_the_help() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}

    ended = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )

    for name, (_, line) in COMMANDS.items():
        assert name in ended.stdout
        assert line in ended.stdout
