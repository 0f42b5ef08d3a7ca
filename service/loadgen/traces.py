"""Traces: send times taken from a CSV file of recorded arrivals, sliced and sped up or slowed down.

Any CSV will do that has one column of timestamps: ISO 8601 (``2023-11-16 18:15:46.6805900``) or plain seconds. A header
line is recognised by its not being a timestamp. Only the spacing counts; rows may be out of order.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import InvalidValueError
from service.loadgen.schedules import Phase

#: Column names taken for the timestamp when none is named.
TIMESTAMP_NAMES = ("timestamp", "time", "ts", "arrival_time", "arrived_at", "start_time", "date")

#: ``datetime`` reads six digits of a second's fraction; traces hold up to nine.
_LONG_FRACTION = re.compile(r"(\.\d{6})\d+")


@dataclass(frozen=True)
class Trace:
    """Recorded arrivals.

    Attributes:
        times: Arrivals, ascending, seconds from the start of the trace, shape (n,).
        duration: Length in seconds; no arrival lies at or beyond it.
        name: What it is called in reports.
    """

    times: NDArray[np.float64]
    duration: float
    name: str = "trace"

    @property
    def mean_rate(self) -> float:
        """Requests a second."""
        return len(self.times) / self.duration

    @property
    def phases(self) -> tuple[Phase, ...]:
        """A trace is reported as a whole."""
        return (Phase(self.name, 0.0, self.duration),)

    def send_times(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """The recorded times; nothing about them is random."""
        return self.times

    def sliced(self, offset: float = 0.0, duration: float | None = None) -> Trace:
        """The part from ``offset`` on, ``duration`` long (to the end when None), in the trace's own seconds.

        Raises:
            InvalidValueError: The part is not inside the trace, or holds no arrival.
        """
        if not 0 <= offset < self.duration:
            raise InvalidValueError(
                "offset", f"{offset:g} s lies outside {self.name}, which lasts {self.duration:.6g} s"
            )
        length = self.duration - offset if duration is None else duration
        # A millionth of slack: durations that went through a scale and back must still fit.
        if not 0 < length <= (self.duration - offset) * (1 + 1e-6):
            left = self.duration - offset
            raise InvalidValueError("duration", f"{length:.6g} s are not in {self.name}: {left:.6g} s are left")
        inside = self.times[(self.times >= offset) & (self.times < offset + length)] - offset
        if not len(inside):
            raise InvalidValueError("offset", f"{self.name} holds no arrival in {offset:g} … {offset + length:g} s")
        return replace(self, times=inside, duration=length)

    def scaled(self, factor: float) -> Trace:
        """``factor`` times the rate with the same pattern of gaps; it lasts 1/``factor`` as long.

        Raises:
            InvalidValueError: ``factor`` is not a positive number.
        """
        if not (math.isfinite(factor) and factor > 0):
            raise InvalidValueError("scale", f"must be above 0, not {factor}")
        return replace(self, times=self.times / factor, duration=self.duration / factor)


def read_trace(path: Path, column: str | None = None) -> Trace:
    """Read a CSV file.

    Args:
        path: The file, UTF-8, with or without a header line.
        column: Name (needs a header) or 1-based number of the column; when None a column with a usual name
            (:data:`TIMESTAMP_NAMES`), else the first.

    Raises:
        InvalidValueError: The file cannot be read, the column is missing, or a value is no timestamp (names the line).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError("trace", f"{path} cannot be read: {error}") from error
    reader = csv.reader(text.splitlines())
    values: list[float] = []
    index = -1
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if index < 0:
            index, is_header = _column(path, row, column)
            if is_header:
                continue
        if len(row) <= index:
            raise InvalidValueError("trace", f"{path}:{reader.line_num}: has {len(row)} columns, needs {index + 1}")
        moment = _timestamp(row[index])
        if moment is None:
            raise InvalidValueError(
                "trace", f"{path}:{reader.line_num}: {row[index]!r} is neither an ISO 8601 time nor a number of seconds"
            )
        values.append(moment)
    if len(values) < 2:
        raise InvalidValueError("trace", f"{path} holds {len(values)} timestamps; at least 2 are needed")
    times = np.sort(np.asarray(values))
    times -= times[0]
    # The last arrival's own gap is unknown; the mean gap stands for it, so that the mean rate is not overstated.
    duration = float(times[-1]) * len(times) / (len(times) - 1)
    if duration <= 0:
        raise InvalidValueError("trace", f"{path}: all {len(times)} timestamps are equal")
    return Trace(times, duration, path.name)


def _column(path: Path, first: list[str], wanted: str | None) -> tuple[int, bool]:
    """Index of the timestamp column, and whether ``first`` is a header."""
    names = [cell.strip().lower() for cell in first]
    if wanted is None:
        for name in TIMESTAMP_NAMES:
            if name in names:
                return names.index(name), True
        return 0, _timestamp(first[0]) is None
    if wanted.lower() in names:
        return names.index(wanted.lower()), True
    if wanted.isdigit() and 1 <= int(wanted) <= len(first):
        return int(wanted) - 1, _timestamp(first[int(wanted) - 1]) is None
    raise InvalidValueError("column", f"{wanted!r} is not in the first line of {path}: {', '.join(first)}")


def _timestamp(cell: str) -> float | None:
    """Seconds, from a number or an ISO 8601 time (UTC where it names no zone); None for anything else."""
    try:
        number = float(cell)
    except ValueError:
        pass
    else:
        return number if math.isfinite(number) else None
    try:
        moment = datetime.fromisoformat(_LONG_FRACTION.sub(r"\1", cell.strip()))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Split, because a float of seconds since 1970 keeps a quarter of a microsecond, which is enough.
    return moment.timestamp()
