"""``regulus serve``: how it starts, where it listens, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from tests.support.processes import http_ok, running
from tests.support.served_node import Served, served_node

TOKEN = "correct-horse-battery-staple"  # noqa: S105 — a test's own


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with served_node(rate=0) as made:
        yield made


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _model(served: Served) -> list[str]:
    return [
        *("--model", served.node.name, "--agent-url", served.url, "--metrics-url", served.metrics_url),
        *("--slo-p99-ms", "50", "--mode", "off"),
    ]


@contextmanager
def _serving(arguments: Sequence[str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service on a free port of its own choice, ready; yields its process and the URL that it told."""

    def url() -> str:
        told = [line.split()[-1] for line in log.read_text().splitlines() if line.startswith("Regulus listens on ")]
        return told[0] if told else ""

    def ready() -> bool:
        return url() != "" and http_ok(f"{url()}/readyz")

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(["serve", "--port", "0", *arguments], ready=ready, log=log, env=environment) as process:
        yield process, url()


def _refused(*arguments: str) -> Result:
    """What ``regulus serve`` says when it does not even start, in this process."""
    return CliRunner().invoke(app, ["serve", *arguments])


def test_it_ends_cleanly_at_a_signal_and_remembers(served: Served, tmp_path: Path) -> None:
    bounds, logs = [], []
    for number in (signal.SIGTERM, signal.SIGINT):
        log = tmp_path / f"log{number}"
        with _serving(_model(served), log) as (process, url), httpx.Client() as connection_kept_open:
            bounds.append(connection_kept_open.get(f"{url}/v1/models/mnist/slo").json()["bound_seconds"])
            connection_kept_open.put(f"{url}/v1/models/mnist/slo", json={"bound_seconds": 0.125}).raise_for_status()
            process.send_signal(number)
            assert process.wait(timeout=30) == 0
        logs.append(log.read_text())

    assert bounds == [0.05, 0.125]
    assert (tmp_path / "regulus.db").exists()
    for text in logs:
        assert "/metrics" in text
        assert "Traceback" not in text
        assert '"event": "stopped"' in text


def test_with_a_token_it_answers_only_those_who_have_it_and_waits_for_no_slow_sender(
    served: Served, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    config = tmp_path / "some.toml"
    config.write_text("[server]\nauth_token_file = 'token'\nbody_timeout_seconds = 0.2\n")
    log = tmp_path / "log"
    with _serving(["--config", str(config), *_model(served)], log) as (_, url):
        refused = httpx.get(f"{url}/v1/models")
        answered = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {TOKEN}"})
        too_slow = _send_half_a_body(url)

    assert (refused.status_code, answered.status_code) == (401, 200)
    assert too_slow.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in too_slow
    assert TOKEN not in log.read_text()


def _send_half_a_body(url: str) -> bytes:
    """All that comes back on a connection whose body never ends."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as sender:
        head = ("PUT /v1/models/mnist/mode HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}")
        more = ("Content-Type: application/json", "Content-Length: 20", "", "{")
        sender.sendall("\r\n".join((*head, *more)).encode())
        answer = b""
        while chunk := sender.recv(4096):
            answer += chunk
        return answer


def test_a_taken_port_is_one_clear_line_and_touches_nothing(served: Served, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = _refused("--port", str(taken.getsockname()[1]), *_model(served))

    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert "Address already in use" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_it_refuses_to_listen_beyond_loopback_without_a_token(served: Served) -> None:
    ended = _refused("--host", "0.0.0.0", *_model(served))  # noqa: S104 — what must be refused

    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: --host: server.host: 0.0.0.0 can be reached from other machines")


def test_a_host_that_is_not_ours_is_one_clear_line(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGULUS_SERVER__AUTH_TOKEN", TOKEN)

    ended = _refused("--host", "192.0.2.1", "--port", "0", *_model(served))

    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: cannot listen on 192.0.2.1:0: ")


def test_a_token_file_that_is_not_there_is_one_clear_line(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGULUS_SERVER__AUTH_TOKEN_FILE", "nowhere")

    ended = _refused("--port", "0", *_model(served))

    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: server.auth_token_file: nowhere cannot be read: ")


def test_a_history_that_cannot_be_opened_is_told_without_a_traceback(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = _refused("--port", "0", "--database", f"sqlite:///{tmp_path}/file/history.db", *_model(served))

    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: ")
    assert f"{tmp_path}/file/history.db" in ended.stderr
    assert "Traceback" not in ended.output
