"""``regulus token``: made once, listed without its secret, revoked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.access import token_file
from service.access.scopes import Scope
from service.cli.main import app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def _token(*arguments: str, file: Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["token", *arguments, "--file", str(file)], input=stdin)


def test_a_token_is_printed_once_and_alone_and_only_its_digest_is_kept(file: Path) -> None:
    made = _token("create", "--name", "ci", "--scope", "operate", file=file)
    listed = _token("list", file=file)

    secret = made.stdout.strip()
    assert made.stdout == f"{secret}\n"
    found = token_file.read(file, "f").find(secret, now=0.0)
    assert found is not None
    assert (found.name, found.scope) == ("ci", Scope.OPERATE)
    assert "ci" in listed.stdout
    assert "operate" in listed.stdout
    assert secret not in listed.output + file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_scope_a_token_may_only_look(file: Path) -> None:
    _token("create", "--name", "ci", file=file)

    (token,) = token_file.read(file, "f")
    assert token.scope is Scope.READ


def test_a_token_may_end_by_itself(file: Path) -> None:
    _token("create", "--name", "ci", "--days", "2", file=file)

    (token,) = token_file.read(file, "f")
    assert token.expires_at == pytest.approx(token.created_at + 2 * 86_400)
    assert "never" not in _token("list", file=file).stdout


def test_a_token_in_use_can_be_taken_along(file: Path) -> None:
    made = _token("create", "--name", "old", "--from-stdin", file=file, stdin="correct-horse-battery-staple\n")

    assert made.exit_code == 0
    assert made.stdout == ""
    assert token_file.read(file, "f").find("correct-horse-battery-staple", now=0.0) is not None


def test_a_revoked_token_is_gone(file: Path) -> None:
    _token("create", "--name", "ci", file=file)
    _token("create", "--name", "ops", file=file)
    revoked = _token("revoke", "--name", "ci", file=file)

    assert revoked.exit_code == 0
    assert [token.name for token in token_file.read(file, "f")] == ["ops"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (("create", "--name", "there"), None, "'there' has a token already"),
        (("create", "--name", "not a name"), None, "letters, digits"),
        (("create", "--name", "x", "--from-stdin"), "short\n", "at least 16 visible ASCII"),
        (("revoke", "--name", "nobody"), None, "there is no token for 'nobody'; there is there"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    file: Path, arguments: tuple[str, ...], stdin: str | None, told: str
) -> None:
    _token("create", "--name", "there", file=file)
    before = file.read_bytes()
    ended = _token(*arguments, file=file, stdin=stdin)

    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: ")
    assert told in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert file.read_bytes() == before


def test_a_file_that_is_not_there_cannot_be_listed(file: Path) -> None:
    ended = _token("list", file=file)

    assert ended.exit_code == 1
    assert "cannot be read" in ended.stderr
