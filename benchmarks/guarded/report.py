"""Report: Markdown, plot and JSON of a study."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill

from rich.console import Console

from benchmarks.guarded.plot import over_time
from benchmarks.guarded.study import Study
from benchmarks.guarded.tables import all_tables
from benchmarks.guarded.world import SESSION_SWITCH_SECONDS, SESSION_SWITCH_SLOWDOWN, SLOT_SECONDS
from benchmarks.markers import write_between
from benchmarks.replay.style import styled, write

PLOT = "guarded.svg"
SECTION = "guarded"
_WIDTH = 118
#: Columns of a terminal that the widest table needs.
_TABLE_WIDTH = 160


def publish(study: Study, out: Path, docs: Path | None) -> None:
    """Show the tables and write all files.

    Args:
        study: The runs.
        out: Folder of ``guarded.json``, ``guarded.md`` and ``guarded.svg``.
        docs: Document whose section between markers is replaced; its plot lies in a folder of the document's name.

    Raises:
        ValueError: The document lacks a marker; says which.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "guarded.json").write_text(json.dumps(document(study), indent=1) + "\n", encoding="utf-8")
    (out / "guarded.md").write_text(markdown(study, PLOT), encoding="utf-8")
    _draw(study, out / PLOT)
    if docs is not None:
        _draw(study, docs.with_suffix("") / PLOT)
        write_between(docs, SECTION, markdown(study, f"{docs.stem}/{PLOT}"))
    narrow = Console()
    console = narrow if narrow.width >= _TABLE_WIDTH else Console(width=_TABLE_WIDTH)
    for table in all_tables(study):
        console.print(table.rich())
    console.print(f"{out}/guarded.json, .md, .svg" + (f"; {docs}" if docs else ""), markup=False, soft_wrap=True)


def document(study: Study) -> dict[str, object]:
    """Everything, JSON-ready."""
    return {
        "benchmark": "guarded",
        "slot_seconds": SLOT_SECONDS,
        "bounds_seconds": dict(study.bounds),
        "variants": [
            {"name": one.name, "policy": one.policy, "guarded": one.guarded, "settings": dict(one.settings)}
            for one in study.variants
        ],
        "runs": [row.to_dict() for row in study.rows],
    }


def markdown(study: Study, plot: str) -> str:
    """What was done, the tables and the plot, without a heading of its own."""
    seeds = len({row.seed for row in study.rows})
    minutes = max(len(one.schedule) for one in study.scenarios) * SLOT_SECONDS / 60
    text = f"""{seeds} seeds, {minutes:.3g} minutes a run, from TensorFlow Serving's default and a policy that knows
        nothing; all of what is tried is counted. Everybody meets the same requests and the same noise. A switch that
        needs new sessions takes {SESSION_SWITCH_SECONDS:g} s at {SESSION_SWITCH_SLOWDOWN:g} times the latency."""
    first, *others = (table.markdown().strip() for table in all_tables(study))
    parts = [fill(" ".join(text.split()), _WIDTH, break_long_words=False), first]
    parts.append(f"![Requests in violation over time, with and without guardrails]({plot})")
    return "\n\n".join([*parts, *others]) + "\n"


def _draw(study: Study, path: Path) -> None:
    with styled():
        write(over_time(study), path)
