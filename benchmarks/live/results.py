"""Results: what runs on the live server showed, a line a run, so that what was cut short goes on where it was.

JSON Lines. The first line says what is compared and on what; a line a cell holds the bound of its objective; the others
are runs. A last line that was cut in the middle is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.live.plan import Cell, Turn
from service.domain.errors import InvalidValueError

Row = Mapping[str, Any]


class Results:
    """The file of one comparison.

    Args:
        path: Where it is or will be.

    Attributes:
        header: The first line; None before :meth:`begin`.
        bounds: The bound of each cell's objective by the cell's key, seconds.
        runs: The runs, in the order in which they were made.

    Raises:
        InvalidValueError: The file is there and holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.header: Row | None = None
        self.bounds: dict[str, float] = {}
        self.runs: list[Row] = []
        if path.exists():
            self._read()

    def begin(self, header: Row) -> None:
        """Say what is compared; the first thing that is written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._append({"kind": "header", **header})

    def bound(self, cell: Cell, seconds: float, looks: Mapping[str, float]) -> None:
        """Keep the bound of a cell's objective.

        Args:
            cell: The cell.
            seconds: The bound.
            looks: What it rests on: the p99 of each configuration that was looked at, seconds.
        """
        self._append({"kind": "bound", "cell": cell.key, "bound_seconds": seconds, "looks": dict(looks)})

    def add(self, turn: Turn, outcome: Row) -> None:
        """Keep a run; it is on the disk when this returns."""
        place = {"repeat": turn.repeat, "cell": turn.cell.key, "policy": turn.policy}
        self._append({"kind": "run", **place, **outcome})

    def has(self, turn: Turn) -> bool:
        """Whether a turn was taken."""
        wanted = (turn.repeat, turn.cell.key, turn.policy)
        return any((run["repeat"], run["cell"], run["policy"]) == wanted for run in self.runs)

    def _append(self, row: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._take(row)

    def _take(self, row: dict[str, Any]) -> None:
        kind = row.pop("kind")
        if kind == "header":
            self.header = row
        elif kind == "bound":
            self.bounds[row["cell"]] = float(row["bound_seconds"])
        else:
            self.runs.append(row)

    def _read(self) -> None:
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        try:
            for line in whole.splitlines():
                self._take(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidValueError("out", f"{self._path} holds no results of `regulus bench live`: {error}") from error
        if whole and self.header is None:
            raise InvalidValueError("out", f"{self._path} does not say what was compared")
