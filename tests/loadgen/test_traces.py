from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.traces import Trace, read_trace


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_iso_times_with_a_header_and_seven_digits(tmp_path: Path) -> None:
    text = "TIMESTAMP,Tokens\r\n2023-11-16 18:15:46.6805900,374\r\n2023-11-16 18:15:50.1805900,396\r\n"
    trace = read_trace(written(tmp_path, text))
    assert trace.times == pytest.approx([0, 3.5], abs=1e-5)
    assert trace.name == "trace.csv"


def test_plain_seconds_without_a_header_in_any_order(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "12.5\n10\n\n11\n"))
    assert trace.times.tolist() == [0, 1, 2.5]
    # The mean gap follows the last arrival: three arrivals in 3.75 s.
    assert trace.duration == 3.75


@pytest.mark.parametrize("column", ["when", "2"])
def test_the_column_can_be_named_or_numbered(tmp_path: Path, column: str) -> None:
    trace = read_trace(written(tmp_path, "tokens,when\n7,1.0\n8,3.0\n"), column)
    assert trace.times.tolist() == [0, 2]


def test_a_usual_name_is_found_in_any_column(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path, "id,Timestamp\n7,1.0\n8,3.0\n")).times.tolist() == [0, 2]


def test_scaling_keeps_the_pattern_of_gaps() -> None:
    trace = Trace(np.array([0.0, 1.0, 5.0]), 10.0)
    fast = trace.scaled(4)
    assert fast.times.tolist() == [0, 0.25, 1.25]
    assert fast.duration == 2.5
    assert fast.mean_rate == pytest.approx(4 * trace.mean_rate)


def test_slicing_starts_anew_at_zero() -> None:
    trace = Trace(np.array([0.0, 1.0, 5.0, 6.0]), 8.0).sliced(0.5, 5.0)
    assert trace.times.tolist() == [0.5, 4.5]
    assert trace.duration == 5.0


@pytest.mark.parametrize(("offset", "duration"), [(8.0, None), (-1.0, None), (2.0, 7.0), (2.0, 1.0), (0.0, 0.0)])
def test_a_slice_outside_the_trace_or_without_arrivals_is_refused(offset: float, duration: float | None) -> None:
    with pytest.raises(InvalidValueError, match="trace"):
        Trace(np.array([0.0, 1.0, 5.0, 6.0]), 8.0).sliced(offset, duration)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_must_be_positive(factor: float) -> None:
    with pytest.raises(InvalidValueError, match="scale"):
        Trace(np.array([0.0]), 1.0).scaled(factor)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("time\n1\n2\nsoon\n", None, r"trace\.csv:4: 'soon' is neither"),
        ("id,time\n1,1\n2\n", None, r"trace\.csv:3: has 1 columns, needs 2"),
        ("time\n1\n", None, "at least 2"),
        ("1\n1\n", None, "equal"),
        ("a,b\n1,2\n", "c", "'c' is not in the first line"),
        ("", None, "at least 2"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, text: str, column: str | None, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        read_trace(written(tmp_path, text), column)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
