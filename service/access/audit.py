"""The audit log: who did, or tried, what; when, from where, and what came of it. JSON Lines.

Each line is appended whole by one write, so that several processes and a rotation by renaming (logrotate's ``create``)
go well together: the file is opened anew once its name leads elsewhere. Secrets are masked.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.access import redaction
from service.access.limiter import RateLimiter
from service.domain.clock import Clock

#: Entries that are kept in memory, to be asked for.
RECENT = 1000

#: Refused attempts that are written: a flood of them must not fill a disk. What is left out is counted.
REFUSALS_PER_SECOND = 5.0
REFUSALS_BURST = 100

_SEED_BYTES = 512 << 10
_MAX_TEXT = 500

_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What came of an attempt."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Something that somebody did or tried.

    Attributes:
        caller: Name of the token; empty where there was none, or none that we know.
        address: Of the other end of the connection; a proxy's own where one stands between.
        method: Of the request.
        path: Of the request, without its query.
        operation: What the API calls it; empty for what it does not know.
        outcome: What came of it.
        status: HTTP status of the answer; None when there was none.
        request_id: Finds the request in the log.
        scope: Of the token; empty where there was none.
        body: What was asked for; None without, or when it was refused.
        detail: Why it was refused.
    """

    caller: str
    address: str
    method: str
    path: str
    operation: str
    outcome: Outcome
    status: int | None
    request_id: str
    scope: str = ""
    body: Any = None
    detail: str = ""


class AuditLog:
    """Writes attempts to a file or, without one, to the log.

    Args:
        file: Where lines are appended; made for its owner alone. None: no file.
        stream: Takes each entry where there is no file, or where the file cannot be written.
        clock: Time.
    """

    def __init__(self, file: Path | None, stream: Callable[[Mapping[str, Any]], None], clock: Clock) -> None:
        self._file = file
        self._stream = stream
        self._clock = clock
        self._refusals = RateLimiter(REFUSALS_PER_SECOND, REFUSALS_BURST, clock)
        self._left_out = 0
        self._descriptor: int | None = None
        self._failing = False
        self._recent: deque[Mapping[str, Any]] = deque(_tail(file) if file is not None else (), maxlen=RECENT)

    def record(self, attempt: Attempt) -> None:
        """Write an attempt down. Never raises: what was done is done, and the log gets it when the file cannot."""
        if attempt.outcome is Outcome.REFUSED and self._refusals.take("") > 0:
            self._left_out += 1
            return
        entry = self._entry(attempt)
        self._recent.append(entry)
        if self._file is None:
            self._stream(entry)
            return
        try:
            self._append(self._file, entry)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.error("the audit log %s cannot be written, entries go to this log: %s", self._file, error)
            self._failing = True
            self._stream(entry)

    def recent(self, limit: int) -> list[Mapping[str, Any]]:
        """The newest entries, newest first."""
        return list(self._recent)[::-1][:limit]

    def close(self) -> None:
        """Release the file. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _entry(self, attempt: Attempt) -> dict[str, Any]:
        at = dt.datetime.fromtimestamp(self._clock.time(), dt.UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "at": at.replace("+00:00", "Z"),
            "caller": attempt.caller,
            "scope": attempt.scope,
            "address": attempt.address,
            "operation": attempt.operation,
            "method": attempt.method,
            "path": redaction.mask_text(attempt.path[:_MAX_TEXT]),
            "outcome": attempt.outcome.value,
            "status": attempt.status,
            "request_id": attempt.request_id,
        }
        if attempt.body is not None:
            entry["body"] = redaction.mask(attempt.body)
        if attempt.detail:
            entry["detail"] = redaction.mask_text(attempt.detail[:_MAX_TEXT])
        if self._left_out:
            entry["left_out_before"] = self._left_out
            self._left_out = 0
        return entry

    def _append(self, file: Path, entry: Mapping[str, Any]) -> None:
        line = (json.dumps(entry, ensure_ascii=True, default=str) + "\n").encode()
        descriptor = self._open(file)
        written = os.write(descriptor, line)
        if written < len(line):
            # A full disk may take half a line; end it, so that the next one can be read.
            os.write(descriptor, b"\n")
            raise OSError(f"only {written} of {len(line)} bytes were taken")

    def _open(self, file: Path) -> int:
        """The file that has the name now."""
        if self._descriptor is not None:
            mine = os.fstat(self._descriptor)
            with contextlib.suppress(OSError):
                there = file.stat()
                if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
                    return self._descriptor
            self.close()
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor


def _tail(file: Path) -> list[Mapping[str, Any]]:
    """The newest entries of a file that may not be there; lines that cannot be read are left out."""
    try:
        if not file.is_file():  # a pipe or a device has no end to look at
            return []
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - _SEED_BYTES))
            lines = opened.read(_SEED_BYTES).splitlines()
    except OSError:
        return []
    entries: list[Mapping[str, Any]] = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries
