"""Putting a benchmark's results where they were asked for: terminal, Markdown, JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.tables import Table
from service.cli.demo.run import describe_machine


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was beforehand."""
    return {**describe_machine(), "load_average_before": round(os.getloadavg()[0], 2)}


def machine_line(described: Mapping[str, Any]) -> str:
    """The machine, in a sentence."""
    return (
        f"{described['processor']}, {described['cpus']} processors, Python {described['python']}, "
        f"TensorFlow {described['tensorflow']}; clients on the same machine; load average before: "
        f"{described['load_average_before']}."
    )


def publish(
    name: str, document: Mapping[str, Any], tables: Sequence[Table], *, out: Path | None, markdown: bool
) -> None:
    """Print the tables and write the files.

    Args:
        name: Stem of the files.
        document: For ``NAME.json``; holds the machine.
        tables: For the terminal and ``NAME.md``.
        out: Folder of the files; None to write none.
        markdown: Whether standard output gets the Markdown in place of the tables.
    """
    text = "\n".join([machine_line(document["machine"]), "", *(table.markdown() for table in tables)])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(text, encoding="utf-8")
    if markdown:
        print(text)
        return
    console = Console()
    console.print(machine_line(document["machine"]), markup=False)
    for table in tables:
        console.print()
        console.print(table.rich())
