"""The audit log: every line whole, through rotation and full disks, and no secret in it."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.access.audit import RECENT, Attempt, AuditLog, Outcome
from tests.support.manual_clock import ManualClock


def _attempt(number: int = 0, outcome: Outcome = Outcome.DONE, body: Any = None, path: str = "/v1/x") -> Attempt:
    return Attempt(
        caller="ci",
        scope="operate",
        address="10.0.0.7",
        method="PUT",
        path=path,
        operation="putMode",
        outcome=outcome,
        status=200,
        request_id=f"r{number}",
        body=body,
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _no_stream(entry: Mapping[str, Any]) -> None:
    raise AssertionError(f"the file should have taken {entry}")


def test_who_what_when_from_where_and_what_came_of_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file, _no_stream, ManualClock())
    log.record(_attempt(body={"mode": "auto"}))

    (entry,) = _lines(file)
    assert entry.pop("at").endswith("Z")
    assert entry == {
        "caller": "ci",
        "scope": "operate",
        "address": "10.0.0.7",
        "operation": "putMode",
        "method": "PUT",
        "path": "/v1/x",
        "outcome": "done",
        "status": 200,
        "request_id": "r0",
        "body": {"mode": "auto"},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    log = AuditLog(file, _no_stream, ManualClock())
    log.record(_attempt(body={"token": "hunter2", "note": "Bearer hunter2hunter2"}, path="/v1/rgl_hunter2hunter2"))

    assert "hunter2" not in file.read_text()


def test_a_rotated_file_is_left_and_a_new_one_begun(tmp_path: Path) -> None:
    file, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    log = AuditLog(file, _no_stream, ManualClock())
    log.record(_attempt(1))
    file.rename(old)
    log.record(_attempt(2))
    file.unlink()
    log.record(_attempt(3))

    assert [entry["request_id"] for entry in _lines(old)] == ["r1"]
    assert [entry["request_id"] for entry in _lines(file)] == ["r3"]


def test_several_writers_share_a_file_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    logs = [AuditLog(file, _no_stream, ManualClock()) for _ in range(3)]
    for number in range(30):
        logs[number % 3].record(_attempt(number))

    assert [entry["request_id"] for entry in _lines(file)] == [f"r{number}" for number in range(30)]


def test_what_the_file_cannot_take_goes_to_the_log_and_nothing_raises(tmp_path: Path) -> None:
    streamed: list[Mapping[str, Any]] = []
    log = AuditLog(tmp_path / "nowhere" / "audit.jsonl", streamed.append, ManualClock())
    log.record(_attempt(1))
    (tmp_path / "nowhere").mkdir()
    log.record(_attempt(2))

    assert [entry["request_id"] for entry in streamed] == ["r1"]
    assert [entry["request_id"] for entry in _lines(tmp_path / "nowhere" / "audit.jsonl")] == ["r2"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_sends_entries_to_the_log() -> None:
    streamed: list[Mapping[str, Any]] = []
    log = AuditLog(Path("/dev/full"), streamed.append, ManualClock())
    log.record(_attempt(1))

    assert [entry["request_id"] for entry in streamed] == ["r1"]


def test_a_flood_of_refusals_is_counted_instead_of_written(tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "audit.jsonl"
    log = AuditLog(file, _no_stream, clock)
    for number in range(1000):
        log.record(_attempt(number, Outcome.REFUSED))
    written = len(_lines(file))
    log.record(_attempt(1000))

    assert 0 < written <= 200
    assert _lines(file)[-1]["request_id"] == "r1000"
    assert _lines(file)[-1]["left_out_before"] == 1000 - written


def test_the_newest_are_remembered_through_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    first = AuditLog(file, _no_stream, ManualClock())
    for number in range(5):
        first.record(_attempt(number))
    first.close()
    with file.open("a") as spoilt:
        spoilt.write("not json\n[1]\n")

    again = AuditLog(file, _no_stream, ManualClock())

    assert [entry["request_id"] for entry in again.recent(2)] == ["r4", "r3"]


def test_memory_is_bounded() -> None:
    log = AuditLog(None, lambda entry: None, ManualClock())
    for number in range(RECENT + 50):
        log.record(_attempt(number))

    assert len(log.recent(10 * RECENT)) == RECENT
