"""Markers: sections of a hand-written document that a command fills."""

from __future__ import annotations

from pathlib import Path


def write_between(path: Path, section: str, text: str) -> None:
    """Replace what stands between the markers of a section; all else stays.

    Args:
        path: The document.
        section: Name in the markers ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.
        text: What is to stand there.

    Raises:
        ValueError: The document lacks a marker; says which.
    """
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before = path.read_text(encoding="utf-8")
    head, found, rest = before.partition(begin)
    old, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} lacks {begin if not found else end}: nowhere to write the results")
    del old
    path.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")
