"""The file that tokens are kept in: digests and scopes as JSON, changed atomically, read again when it changes.

A file that holds nothing but one secret is understood too: a mounted secret, or a token from before there were scopes.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.access import redaction
from service.access.scopes import Scope
from service.access.tokens import Token, Tokens, check_secret, digest_of
from service.domain.errors import InvalidValueError

#: What a token without a name of its own is called.
DEFAULT_NAME = "default"

_VERSION = 1
#: Some thousand tokens; what is larger is no tokens file.
_MAX_BYTES = 1 << 20
_WRITABLE_BY_ALL = 0o002

_log = logging.getLogger(__name__)


def single(secret: str) -> Token:
    """The token of a service that has only one: it allows everything. It has no shape, so logs are told to mask it."""
    redaction.register(secret)
    return Token(DEFAULT_NAME, Scope.ADMIN, digest_of(secret), created_at=0.0)


def read(path: Path, field: str) -> Tokens:
    """The tokens in a file.

    Args:
        path: Made by :func:`change`, or with one secret and perhaps space around it.
        field: What errors call it.

    Raises:
        InvalidValueError: It cannot be read, everybody may write it, or what it holds are no tokens.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError(field, f"{path} cannot be read: {error}") from error
    if mode & _WRITABLE_BY_ALL:
        raise InvalidValueError(
            field, f"{path} may be written by others, who could let themselves in: chmod 600 {path}"
        )
    if len(content) > _MAX_BYTES:
        raise InvalidValueError(field, f"{path} is larger than {_MAX_BYTES >> 20} MiB and so no file of tokens")
    if not text.startswith("{"):
        check_secret(field, text)
        return Tokens([single(text)])
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise ValueError(f"it has version {document['version']!r}, and this program reads {_VERSION}")
        return Tokens(_token(raw) for raw in document["tokens"])
    except InvalidValueError as error:
        raise InvalidValueError(field, f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidValueError(field, f"{path} holds no tokens: {type(error).__name__}: {error}") from error


def change(path: Path, edit: Callable[[Tokens], Sequence[Token]]) -> None:
    """Replace the tokens in a file by what ``edit`` makes of them; a file that is not there holds none.

    Changes at the same time wait for each other. A reader, or a crash, meets the old file or the new one.

    Raises:
        InvalidValueError: The file cannot be read or written, or holds one plain secret, which its readers need.
    """
    target = path.resolve()
    try:
        with _locked(target.parent):
            if target.exists() and not target.read_text(encoding="utf-8").lstrip().startswith("{"):
                raise InvalidValueError(
                    "file", f"{path} holds one plain token, which those who read it need; name another file"
                )
            tokens = Tokens(edit(read(target, "file") if target.exists() else Tokens()))
            document = {"version": _VERSION, "tokens": [_raw(token) for token in tokens]}
            _replace(target, json.dumps(document, indent=2) + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError("file", f"{path} cannot be changed: {error}") from error


class TokenSource:
    """The tokens that count now: fixed ones and those in files, which are read again when they have changed.

    A file that can no longer be used leaves the tokens it last held in force, and the log says so: a slip of a person
    must not lock everybody out. To revoke a token take it out of the file.

    Args:
        fixed: Tokens from elsewhere.
        files: Their paths, each with what errors call it.

    Raises:
        InvalidValueError: A file cannot be used, or two tokens have one name.
    """

    def __init__(self, fixed: Sequence[Token] = (), files: Sequence[tuple[Path, str]] = ()) -> None:
        self._fixed = tuple(fixed)
        self._files = tuple(files)
        self._seen = self._fingerprints()
        self._tokens = self._read()

    def current(self) -> Tokens:
        """The tokens that count now. Costs one ``stat`` a file."""
        seen = self._fingerprints()
        if seen != self._seen:
            self._seen = seen
            try:
                self._tokens = self._read()
                _log.info("tokens read again: %d count now", len(self._tokens))
            except InvalidValueError as error:
                _log.error("tokens cannot be read again, the former ones still count: %s", error)
        return self._tokens

    def _read(self) -> Tokens:
        return Tokens([*self._fixed, *(token for path, field in self._files for token in read(path, field))])

    def _fingerprints(self) -> tuple[object, ...]:
        """What is different once a file was changed or replaced."""
        return tuple(_fingerprint(path) for path, _ in self._files)


class SecretFile:
    """One secret in a file, to be shown to others; read again when it has changed.

    Args:
        path: The file; space around the secret is ignored.
        field: What errors call it.

    Raises:
        InvalidValueError: It cannot be read, or holds no token.
    """

    def __init__(self, path: Path, field: str) -> None:
        self._path = path
        self._field = field
        self._seen = _fingerprint(path)
        self._secret = self._read()

    def current(self) -> str:
        """The secret that counts now; the former one while the file cannot be used."""
        seen = _fingerprint(self._path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._secret = self._read()
            except InvalidValueError as error:
                _log.error("the token cannot be read again, the former one is still sent: %s", error)
        return self._secret

    def _read(self) -> str:
        try:
            secret = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValueError(self._field, f"{self._path} cannot be read: {error}") from error
        check_secret(self._field, secret)
        redaction.register(secret)
        return secret


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _token(raw: Any) -> Token:
    digest = bytes.fromhex(raw["sha256"])
    if len(digest) != len(digest_of("")):
        raise ValueError(f"the sha256 of {raw['name']!r} has {len(digest)} bytes")
    expires = raw.get("expires_at")
    return Token(
        name=str(raw["name"]),
        scope=Scope(raw["scope"]),
        digest=digest,
        created_at=float(raw["created_at"]),
        expires_at=float(expires) if expires is not None else None,
    )


def _raw(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scope": token.scope.value,
        "sha256": token.digest.hex(),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: the file itself is replaced, so a lock on it would be left behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(target: Path, text: str) -> None:
    """Write beside the file, for its owner alone, then put it in place."""
    beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
