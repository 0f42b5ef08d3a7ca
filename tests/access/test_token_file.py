"""The tokens file: changed atomically, for its owner alone, read again when it changes."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from service.access import token_file
from service.access.scopes import Scope
from service.access.token_file import SecretFile, TokenSource
from service.access.tokens import Token, Tokens, digest_of
from service.domain.errors import InvalidValueError

PLAIN = "correct-horse-battery-staple"


def _add(file: Path, name: str, secret: str) -> None:
    made = Token(name, Scope.OPERATE, digest_of(secret), created_at=1.5, expires_at=9.5)
    token_file.change(file, lambda tokens: [*tokens, made])


def test_what_is_written_is_read_again_and_holds_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    _add(file, "ci", "rgl_secret-of-ci")
    _add(file, "ops", "rgl_secret-of-ops")

    read = list(token_file.read(file, "f"))

    assert read[0] == Token("ci", Scope.OPERATE, digest_of("rgl_secret-of-ci"), created_at=1.5, expires_at=9.5)
    assert [token.name for token in read] == ["ci", "ops"]
    assert "secret-of" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    threads = [threading.Thread(target=_add, args=(file, f"n{n}", f"secret-{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {token.name for token in token_file.read(file, "f")} == {f"n{n}" for n in range(8)}


def test_a_change_that_is_refused_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    _add(file, "ci", "rgl_one")
    before = file.read_bytes()

    with pytest.raises(InvalidValueError, match="same name"):
        _add(file, "ci", "rgl_two")

    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "tokens.json"
    link.symlink_to(tmp_path / "real" / "tokens.json")
    _add(link, "ci", "rgl_one")

    assert link.is_symlink()
    assert len(token_file.read(link, "f")) == 1


def test_a_plain_token_is_read_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{PLAIN}\n")

    (token,) = token_file.read(file, "f")
    with pytest.raises(InvalidValueError, match="one plain token"):
        _add(file, "ci", "rgl_one")

    assert (token.name, token.scope, token.digest) == ("default", Scope.ADMIN, digest_of(PLAIN))
    assert file.read_text() == f"{PLAIN}\n"


def test_a_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(PLAIN)
    file.chmod(0o666)

    with pytest.raises(InvalidValueError, match="chmod 600"):
        token_file.read(file, "f")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": 2, "tokens": []},
        {"version": 1},
        {"version": 1, "tokens": [{"name": "a"}]},
        {"version": 1, "tokens": [{"name": "a", "scope": "root", "sha256": "00" * 32, "created_at": 0}]},
        {"version": 1, "tokens": [{"name": "a", "scope": "read", "sha256": "00", "created_at": 0}]},
        {"version": 1, "tokens": [{"name": "a b", "scope": "read", "sha256": "00" * 32, "created_at": 0}]},
        {"version": 1, "tokens": 3},
    ],
)
def test_what_holds_no_tokens_is_refused_naming_the_file(tmp_path: Path, document: dict[str, object]) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps(document))

    with pytest.raises(InvalidValueError, match=r"^server\.tokens_file: .*tokens\.json"):
        token_file.read(file, "server.tokens_file")


def _names(source: TokenSource) -> list[str]:
    return [token.name for token in source.current()]


def test_new_and_revoked_tokens_count_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    _add(file, "ci", "rgl_one")
    source = TokenSource(files=[(file, "f")])
    first = _names(source)
    _add(file, "ops", "rgl_two")
    second = _names(source)
    token_file.change(file, lambda tokens: [token for token in tokens if token.name != "ci"])

    assert (first, second, _names(source)) == (["ci"], ["ci", "ops"], ["ops"])


@pytest.mark.parametrize("content", [None, "{", "short"])
def test_a_file_that_is_spoilt_leaves_the_former_tokens(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    _add(file, "ci", "rgl_one")
    source = TokenSource([token_file.single(PLAIN)], [(file, "f")])
    kept = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    spoilt = _names(source), _names(source)
    complaints = [record for record in caplog.records if "cannot be read again" in record.message]
    mended = tmp_path / "mended"
    mended.write_bytes(kept.replace(b'"ci"', b'"mended"'))
    mended.replace(file)

    assert spoilt == (["default", "ci"], ["default", "ci"])
    assert len(complaints) == 1
    assert _names(source) == ["default", "mended"]


def test_a_secret_that_is_shown_to_others_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f" {PLAIN}\n")
    secret = SecretFile(file, "f")
    first = secret.current()
    file.write_text("another-secret-altogether")
    second = secret.current()
    file.unlink()

    assert (first, second, secret.current()) == (PLAIN, "another-secret-altogether", "another-secret-altogether")
    with pytest.raises(InvalidValueError, match="cannot be read"):
        SecretFile(file, "f")


def test_no_tokens_let_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token_file.change(file, lambda tokens: [])

    assert TokenSource(files=[(file, "f")]).current().find(PLAIN, now=0.0) is None
    assert Tokens().find("", now=0.0) is None
