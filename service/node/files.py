"""Files: the node's folder, held by one agent at a time, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from pathlib import Path
from typing import Any

from service.node.errors import StateError
from service.node.state import NodeState

_log = logging.getLogger(__name__)


class NodeFolder:
    """Where everything is that outlives the agent.

    Attributes:
        path: Absolute.
        envoy: Envoy's bootstrap and endpoint files.
        logs: Logs of all processes.
        versions: Version folders that the node makes, on the cheap path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.envoy = self.path / "envoy"
        self.logs = self.path / "logs"
        self.versions = self.path / "versions"
        self._lock: int | None = None

    def take(self) -> None:
        """Create it and hold it.

        Raises:
            StateError: Another agent holds it, or it cannot be written.
        """
        try:
            for folder in (self.path, self.envoy, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{self.path} cannot be used: {error.strerror}. Choose another --state-dir.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.leave()
            raise StateError(
                f"another agent runs in {self.path}. End it, or choose another --state-dir for a second node."
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())

    def holder(self) -> int | None:
        """Process that holds it; None while nobody does."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.read(descriptor, 32).decode()
            return int(text) if text.isdigit() else None
        finally:
            os.close(descriptor)
        return None

    def leave(self) -> None:
        """Let another agent have it. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read_state(self) -> NodeState | None:
        """What an earlier agent wrote last; None where there was none.

        Raises:
            StateError: It cannot be read.
        """
        raw = read_json(self.path / "state.json")
        return None if raw is None else NodeState.from_dict(raw)

    def write_state(self, state: NodeState) -> None:
        """Remember; on the disk when this returns.

        Raises:
            StateError: It cannot be written.
        """
        write_json(self.path / "state.json", state.to_dict(), durable=True)

    def forget_state(self) -> None:
        """The node is given up: the next one begins with its arguments."""
        (self.path / "state.json").unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> Path:
        """A file of the node's; returns its path.

        Raises:
            StateError: It cannot be written.
        """
        path = self.path / name
        _replace(path, text, durable=False)
        return path


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no file.

    Raises:
        StateError: It holds no JSON object.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise StateError(f"{path} holds no JSON object")
    return raw


def write_json(path: Path, content: dict[str, Any], *, durable: bool = False) -> None:
    """Replace a file by an atomic rename, which is what Envoy watches for.

    Args:
        path: The file.
        content: JSON-ready.
        durable: Whether it is to be on the disk when this returns.

    Raises:
        StateError: It cannot be written; the file is as it was.
    """
    _replace(path, json.dumps(content, indent=1), durable=durable)


def _replace(path: Path, text: str, *, durable: bool) -> None:
    # A name of its own: Envoy looks at whatever is renamed in the folder, but reads only the names it knows.
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StateError(f"{path} cannot be written: {error.strerror or error}") from error


class Ledger:
    """The node's state, on the disk before anything is done about it.

    Args:
        folder: Where it is kept.
        state: As it is.
    """

    def __init__(self, folder: NodeFolder, state: NodeState) -> None:
        self._folder = folder
        self._state = state

    @property
    def state(self) -> NodeState:
        """As it is."""
        return self._state

    def write(self, state: NodeState) -> None:
        """Remember what is about to be done.

        Raises:
            StateError: It cannot be written, so it must not be done; the state is as it was.
        """
        self._folder.write_state(state)
        self._state = state

    def note(self, state: NodeState) -> None:
        """Remember what has happened, such as the end of a process; it has, even if it cannot be written.

        What is written next holds it. An agent that comes before that sees by itself who lives.
        """
        self._state = state
        try:
            self._folder.write_state(state)
        except StateError as error:
            _log.error("what has happened is not written down: %s", error)
