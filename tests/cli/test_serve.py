"""``regulus serve`` where nothing is served: printing settings, refusing bad command lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app

MODEL = ("--model", "mnist", "--agent-url", "http://n:1", "--metrics-url", "http://n:2/m", "--slo-p99-ms", "50")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _serve(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["serve", *arguments])


def test_flags_reach_the_settings() -> None:
    flags = ("--host", "localhost", "--port", "1234", "--database", "sqlite://", "--log-level", "debug")

    shown = _serve("--print-config", *flags, "--log-format", "json", "--mode", "auto", *MODEL)

    assert shown.exit_code == 0
    for line in (
        'host = "localhost"',
        "port = 1234",
        'url = "sqlite://"',
        'level = "debug"',
        'format = "json"',
        'name = "mnist"',
        'agent_url = "http://n:1"',
        'mode = "auto"',
        "bound_seconds = 0.05",
    ):
        assert line in shown.stdout.splitlines()


def test_the_example_file_is_accepted_as_it_is(tmp_path: Path) -> None:
    example = _serve("--example-config")
    file = tmp_path / "example.toml"
    file.write_text(example.stdout)

    assert _serve("--config", str(file), "--print-config").exit_code == 0


def test_the_token_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGULUS_SERVER__AUTH_TOKEN", "correct-horse-battery-staple")

    shown = _serve("--print-config", *MODEL)

    assert 'auth_token = "***"' in shown.stdout
    assert "correct-horse" not in shown.output


def test_a_model_by_flags_needs_all_of_them() -> None:
    refused = _serve("--model", "mnist", "--agent-url", "http://n:1")

    assert refused.exit_code == 2
    assert "--metrics-url" in refused.stderr
    assert "--slo-p99-ms" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "error: models: none to steer"),
        (("--config", "nowhere.toml"), "error: nowhere.toml: cannot be read"),
        (("--port", "70000", *MODEL), "error: --port: server.port: "),
        (("--log-level", "loud", *MODEL), "error: --log-level: log.level: "),
        ((*MODEL[:-1], "0"), "error: --slo-p99-ms: models[0].slo.bound_seconds: "),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_a_clear_line(flags: tuple[str, ...], message: str) -> None:
    refused = _serve(*flags)

    assert refused.exit_code == 1
    assert refused.stderr.startswith(message)
    assert "Traceback" not in refused.output
