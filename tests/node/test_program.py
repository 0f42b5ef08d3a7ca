"""``regulus node``: what cannot be started says why, and ends with the right status."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.node import app
from service.node.files import NodeFolder

SERVER = "--server-binary=/bin/true"
MODEL = "--model_base_path=/models/m"


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["--server-binary=/nowhere/server", "--", MODEL], 2, "/nowhere/server"),
        ([SERVER, "--envoy=/nowhere/envoy", "--", MODEL], 2, "/nowhere/envoy"),
        ([SERVER, "--"], 2, "model_base_path"),
        ([SERVER, "--", MODEL, "--grpc_socket_path=/s"], 2, "grpc_socket_path"),
        ([SERVER, "--instances=0", "--", MODEL], 2, "instances"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(tmp_path: Path, arguments: list[str], status: int, named: str) -> None:
    result = CliRunner().invoke(app, [f"--state-dir={tmp_path / 'node'}", *arguments])
    assert result.exit_code == status
    assert named in result.output
    assert "Traceback" not in result.output


def test_a_taken_port_and_a_taken_folder_are_found_before_anything_is_started(tmp_path: Path) -> None:
    state_dir = f"--state-dir={tmp_path / 'node'}"
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = CliRunner().invoke(app, [state_dir, SERVER, f"--agent-port={port}", "--", MODEL])
    assert taken.exit_code == 1
    assert f"127.0.0.1:{port}" in taken.output
    other = NodeFolder(tmp_path / "node")
    other.take()
    held = CliRunner().invoke(app, [state_dir, SERVER, "--", MODEL])
    other.leave()
    assert held.exit_code == 1
    assert "another agent" in held.output


def test_a_server_that_ends_at_once_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = CliRunner().invoke(app, [f"--state-dir={tmp_path / 'node'}", SERVER, f"--agent-port={port}", "--", MODEL])
    assert result.exit_code == 1
    assert "ended" in result.output


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--down", f"--state-dir={tmp_path / 'node'}"])
    assert (result.exit_code, result.output.strip()) == (0, "nothing ran")
