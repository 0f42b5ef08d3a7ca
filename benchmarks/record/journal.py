"""Journal: what a recording has measured so far, a line a measurement, so that one that was cut short goes on.

JSON Lines. The first line says what is recorded; a last line that was cut in the middle is dropped. The file is locked
while a recording goes on: two of them would disturb each other and mix their lines.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.landscape import Landscape, Measurement
from service.domain.errors import InvalidValueError
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig

_HISTOGRAMS = ("latency", "batch_size", "queueing")


class Journal:
    """The file of one recording.

    Args:
        path: Where it is or will be.

    Raises:
        InvalidValueError: The file is there and is none, or another recording writes to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.header: dict[str, Any] | None = None
        self.measurements: list[Measurement] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InvalidValueError("journal", f"another recording writes to {path}; let it end first") from None
        self._read()

    def go_on_from(self, landscape: Landscape) -> None:
        """Begin with what a complete landscape holds, so that more can be measured."""
        self.begin(landscape.sheet)
        for measurement in landscape.measurements:
            self.add(measurement)

    def begin(self, header: Mapping[str, Any]) -> None:
        """Say what is recorded; the first thing that is written."""
        self.header = dict(header)
        self._append(self.header)

    def add(self, measurement: Measurement) -> None:
        """Keep a measurement; it is on the disk when this returns."""
        self.measurements.append(measurement)
        row = {f.name: getattr(measurement, f.name) for f in fields(Measurement)}
        for name in _HISTOGRAMS:
            row[name] = row[name].to_dict() if row[name] is not None else None
        self._append(row | {"config": measurement.config.to_dict()})

    def remove(self) -> None:
        """The recording is complete and kept elsewhere."""
        self._path.unlink()
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        self._file.close()

    def _append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def _read(self) -> None:
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._file.truncate(len(whole.encode()))
        try:
            header, *rows = [json.loads(line) for line in whole.splitlines()] or [None]
            self.header = header
            self.measurements = [_measurement(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            self.close()
            raise InvalidValueError(
                "journal", f"{self._path} is no recording: {error}; remove it to begin anew"
            ) from error


def _measurement(row: dict[str, Any]) -> Measurement:
    for name in _HISTOGRAMS:
        row[name] = Histogram.from_dict(row[name]) if row[name] is not None else None
    return Measurement(**row | {"config": ServingConfig.from_dict(row["config"])})
