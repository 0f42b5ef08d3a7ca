"""``regulus models``: list and export the example models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Build and export the example models (seeded weights, no downloads).")


@app.command("list")
def list_models() -> None:
    """Say which models there are."""
    from models.zoo import ZOO

    table = Table("model", "inputs of one example", "what it is")
    for entry in ZOO.values():
        inputs = ", ".join(f"{name}: {spec.dtype}{list(spec.shape)}" for name, spec in entry.inputs.items())
        table.add_row(entry.name, inputs, entry.summary)
    Console().print(table)


@app.command("export")
def export(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write to; each model gets a folder NAME/VERSION in it.")
    ],
    names: Annotated[list[str] | None, typer.Argument(help="Models to export; see `regulus models list`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Export every model of the zoo.")] = False,
    version: Annotated[int, typer.Option(help="Number of the version directory.", min=0)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the weights; the same seed gives the same answers.")] = 0,
    replace: Annotated[bool, typer.Option(help="Write a version anew that is already there.")] = False,
) -> None:
    """Write models as version directories that `regulus modelserver` and TensorFlow Serving load.

    Example: regulus models export mlp mobilenet_v2 --out ./exported
    """
    from models.export import ExportError, export_model
    from models.zoo import ZOO
    from service.cli.quiet_tensorflow import import_tensorflow

    console = Console(stderr=True)
    if every == bool(names):
        console.print("Name the models to export, or give --all (not both); `regulus models list` shows them.")
        raise typer.Exit(2)
    wanted = list(ZOO) if every else list(names or ())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        import_tensorflow()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("exporting", total=len(wanted))
            for name in wanted:
                progress.update(task, description=f"exporting {name}")
                path = export_model(name, out, version=version, seed=seed, replace=replace)
                progress.advance(task)
                typer.echo(path)
    except (ExportError, ImportError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from None
