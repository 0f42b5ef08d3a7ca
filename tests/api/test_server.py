"""``regulus serve``: how it starts, where it listens, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from service.access.tls import client_context
from service.cli.main import app
from tests.support.certificates import Authority
from tests.support.processes import http_ok, running
from tests.support.served_node import Served, served_node

TOKEN = "correct-horse-battery-staple"  # noqa: S105 — a test's own
AGENT_TOKEN = "another-secret-for-agents"  # noqa: S105 — likewise


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
def _serving(
    arguments: Sequence[str], log: Path, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service on a free port of its own choice, ready; yields its process and the URL that it told."""

    def url() -> str:
        told = [line.split()[-1] for line in log.read_text().splitlines() if line.startswith("Regulus listens on ")]
        return told[0] if told else ""

    def ready() -> bool:
        return url() != "" and http_ok(f"{url()}/readyz", tls)

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


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_over_tls_with_tokens_it_answers_only_those_who_have_one_waits_for_nobody_and_logs_no_secret(
    served: Served, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("server")
    trusted = client_context(authority.certificate, field="ca")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "agent-token").write_text(AGENT_TOKEN)
    made = CliRunner().invoke(app, ["token", "create", "--name", "ci", "--scope", "read", "--file", "tokens.json"])
    ci = made.stdout.strip()
    config, log = tmp_path / "some.toml", tmp_path / "log"
    config.write_text(
        "[server]\nauth_token_file = 'token'\ntokens_file = 'tokens.json'\nbody_timeout_seconds = 0.2\n"
        "header_timeout_seconds = 0.3\nmax_header_bytes = 4096\n"
        f"tls_certificate = '{pair.certificate}'\ntls_key = '{pair.key}'\n"
        "[agents]\ntoken_file = 'agent-token'\n[log]\nlevel = 'debug'\n"
    )
    wrong = "rgl_wrong-wrong-wrong-wrong-wrong"
    with (
        _serving(["--config", str(config), *_model(served)], log, trusted) as (_, url),
        httpx.Client(base_url=url, verify=trusted) as client,
    ):
        statuses = [
            client.get("/v1/models", headers=headers).status_code
            for headers in ({}, _bearer(wrong), _bearer(ci), _bearer(TOKEN))
        ]
        forbidden = client.put("/v1/models/mnist/mode", json={"mode": "off"}, headers=_bearer(ci))
        answer = client.put("/v1/models/mnist/mode", json={"mode": "off", "token": ci}, headers=_bearer(TOKEN))
        client.get(f"/v1/models/{ci}/slo?token={TOKEN}&again={wrong}", headers=_bearer(TOKEN))
        huge = client.get("/v1/models", headers={**_bearer(ci), "X-Padding": "x" * 8000})
        CliRunner().invoke(app, ["token", "revoke", "--name", "ci", "--file", "tokens.json"])
        revoked = client.get("/v1/models", headers=_bearer(ci))
        too_slow = _all_that_comes_back(url, trusted, HALF_A_BODY)
        silent, half_a_head = _all_that_comes_back(url, trusted, b""), _all_that_comes_back(url, trusted, b"GET / HT")

    assert statuses == [401, 401, 200, 200]
    assert (forbidden.status_code, answer.status_code, huge.status_code, revoked.status_code) == (403, 422, 431, 401)
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert too_slow.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in too_slow
    assert silent == half_a_head == b""
    text = log.read_text()
    assert '"event": "audit"' in text
    assert '"level": "debug"' in text
    for secret in (TOKEN, AGENT_TOKEN, ci, wrong):
        assert secret not in text


HALF_A_BODY = "\r\n".join(
    (
        *("PUT /v1/models/mnist/mode HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}"),
        *("Content-Type: application/json", "Content-Length: 20", "", "{"),
    )
).encode()


def _all_that_comes_back(url: str, tls: ssl.SSLContext, sent: bytes) -> bytes:
    """All that comes back on a connection, until the other end closes it, on which only this was sent."""
    with (
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as sender,
    ):
        sender.sendall(sent)
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
