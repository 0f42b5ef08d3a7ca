"""``regulus bench``: the benchmarks of a checkout. They are no part of the installed package."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import typer

#: Where the repository would be: this file lies in ``service/cli/`` of it.
_ROOT = Path(__file__).parents[2]
#: What the extra ``bench`` brings.
_NEEDED = ("pyarrow", "optuna", "matplotlib")
EXIT_NOT_HERE = 2


def _checkout() -> typer.Typer:
    """The commands, from the checkout that this file lies in."""
    if not (_ROOT / "benchmarks" / "cli.py").is_file():
        typer.echo(
            "error: `regulus bench` needs a checkout of the repository: landscapes and benchmarks are no part of the "
            "installed package. Clone it, then `make setup` and `.venv/bin/regulus bench`.",
            err=True,
        )
        raise SystemExit(EXIT_NOT_HERE)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        typer.echo(
            f"error: `regulus bench` needs {', '.join(missing)}: install the extra `bench`, in the checkout "
            "`pip install -e '.[bench]'`.",
            err=True,
        )
        raise SystemExit(EXIT_NOT_HERE)
    # An editable install puts the packages `service` and `models` on the path, but not always their folder.
    if str(_ROOT) not in sys.path:
        sys.path.append(str(_ROOT))
    commands: typer.Typer = importlib.import_module("benchmarks.cli").app
    return commands


app = _checkout()
