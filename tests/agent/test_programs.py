"""Programs with an agent API refuse to open it to strangers, before they do anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.node import app as node
from service.modelserver.flags import FlagError, parse_flags

EVERYWHERE = "0.0.0.0"  # noqa: S104 — what must be refused
SERVED = ["--model_name=m", "--model_base_path=/nowhere"]


def test_a_node_does_not_listen_beyond_loopback_without_asking_who_is_there(tmp_path: Path) -> None:
    state = tmp_path / "node"
    ended = CliRunner().invoke(node, [f"--state-dir={state}", f"--agent-host={EVERYWHERE}", "--", *SERVED])

    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"error: --agent-host: {EVERYWHERE} can be reached from other machines")
    assert not state.exists()


def test_a_token_file_that_is_not_there_is_named_before_anything_is_started(tmp_path: Path) -> None:
    ended = CliRunner().invoke(node, [f"--agent-token-file={tmp_path / 'none'}", "--", *SERVED])

    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"error: --agent-token-file: {tmp_path / 'none'} cannot be read")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "needs a token"),
        (["--agent_token_file=/run/token"], None),
        (["--agent_certificate=/c", "--agent_key=/k"], "needs a token"),
        (["--agent_certificate=/c", "--agent_key=/k", "--agent_client_ca=/a"], None),
        (["--agent_certificate=/c"], "given together"),
    ],
)
def test_the_embedded_server_neither(more: list[str], told: str | None) -> None:
    flags = [*SERVED, "--agent_port=8502", f"--agent_host={EVERYWHERE}", *more]
    if told is None:
        assert parse_flags(flags).agent_host == EVERYWHERE
        return
    with pytest.raises(FlagError, match=told):
        parse_flags(flags)


def test_without_an_agent_its_address_does_not_matter() -> None:
    assert parse_flags([*SERVED, f"--agent_host={EVERYWHERE}"]).agent_port == 0
