from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.landscape import Landscape
from benchmarks.record.journal import Journal
from benchmarks.record.plan import Visit
from service.domain.errors import InvalidValueError
from tests.benchmarks.record.test_plan import LATTICE, measured

ROW = measured(Visit(LATTICE[40], "lattice", 0.4), 0.02)


def test_what_was_written_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "one.jsonl"
    journal = Journal(path)
    journal.begin({"model": "m"})
    journal.add(ROW)
    journal.close()
    again = Journal(path)
    assert again.header == {"model": "m"}
    assert again.measurements == [ROW]
    again.close()


def test_a_landscape_that_is_there_already_is_what_further_measurements_are_added_to(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "one.jsonl")
    journal.go_on_from(Landscape("one", {"model": "m"}, (ROW,)))
    journal.add(ROW)
    journal.close()
    again = Journal(tmp_path / "one.jsonl")
    assert again.header == {"model": "m"}
    assert again.measurements == [ROW, ROW]
    again.close()


def test_a_line_that_was_cut_in_the_middle_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    journal = Journal(path)
    journal.begin({"model": "m"})
    journal.add(ROW)
    journal.close()
    path.write_text(path.read_text() + '{"config": {"ena')
    again = Journal(path)
    again.add(ROW)
    again.close()
    whole = Journal(path)
    assert whole.measurements == [ROW, ROW]
    whole.close()


def test_a_file_that_is_none_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text("something else\n")
    with pytest.raises(InvalidValueError, match="is no recording"):
        Journal(path)
    assert path.read_text() == "something else\n"


def test_two_recordings_do_not_write_to_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    first = Journal(path)
    with pytest.raises(InvalidValueError, match="another recording"):
        Journal(path)
    first.close()
    Journal(path).close()
