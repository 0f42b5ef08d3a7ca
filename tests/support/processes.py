"""Real processes for tests: free ports, start, wait until ready, end."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

READY_TIMEOUT_SECONDS = 60.0


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http_ok(url: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a GET answers 200 within a second; with https by the authorities of ``tls``."""
    try:
        with urllib.request.urlopen(url, timeout=1.0, context=tls) as answer:  # noqa: S310 — loopback only
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until(
    condition: Callable[[], bool],
    timeout: float = READY_TIMEOUT_SECONDS,
    what: str | Callable[[], str] = "condition",
) -> None:
    """Poll until ``condition`` holds; AssertionError with ``what``, or what that says then, when it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            missing = what if isinstance(what, str) else what()
            raise AssertionError(f"{missing} did not come true within {timeout} s")
        time.sleep(0.05)


@contextlib.contextmanager
def running(
    arguments: Sequence[str], *, ready: Callable[[], bool], log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m service.cli.main ARGUMENTS`` until the block ends; its output goes to ``log``.

    Raises AssertionError with the log's tail when the process ends early or is not ready in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli.main", *arguments], stdout=output, stderr=subprocess.STDOUT, env=env
        )

    def ready_or_dead() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{arguments[0]} ended with {process.returncode}: {log.read_text()[-3000:]}")
        return ready()

    try:
        wait_until(ready_or_dead, what=f"{arguments[0]} ready (log: {log})")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)
