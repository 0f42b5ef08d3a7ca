"""Table: rows of text that become Markdown for the documentation, and a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        title: What it shows.
        header: Names of the columns; the first column is text, the others are numbers.
        rows: Cells, as many in each row as there are columns.
        note: How to read it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """A heading, the table and the note."""
        lines = [
            f"### {self.title}",
            "",
            _line(self.header),
            _line(["---", *["---:"] * (len(self.header) - 1)]),
            *(_line(row) for row in self.rows),
        ]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])

    def rich(self) -> RichTable:
        """For the terminal."""
        table = RichTable(title=self.title, caption=self.note or None, title_justify="left", caption_justify="left")
        for index, name in enumerate(self.header):
            table.add_column(name, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*(cell.replace("[", r"\[") for cell in row))
        return table


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def milliseconds(seconds: float) -> str:
    """Three significant digits, in milliseconds, without an exponent."""
    value = seconds * 1e3
    if value != value:  # NaN: nothing was answered.
        return "–"
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
