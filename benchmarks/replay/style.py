"""Style of the plots: colours that the colour-blind can tell apart (Okabe and Ito), SVG that is the same every time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

OURS_COLOUR = "#D55E00"
RIVAL_COLOUR = "#0072B2"
QUIET_COLOUR = "#777777"
#: For several policies in one plot; the first is ours. Line styles differ too.
COLOURS = (OURS_COLOUR, "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)), (0, (8, 2)))

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "regulus",
    "path.simplify_threshold": 0.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}

#: Coordinates are given in millionths of a point; two digits are more than a screen shows.
_LONG_NUMBER = re.compile(r"(\d\.\d\d)\d{2,}")


@contextmanager
def styled() -> Iterator[None]:
    """Figures made inside look like this module says."""
    with mpl.rc_context(_SETTINGS):
        yield


def write(figure: Figure, path: Path) -> None:
    """As SVG without a date, text as text; call it inside :func:`styled`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = _LONG_NUMBER.sub(r"\1", path.read_text(encoding="utf-8"))
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
