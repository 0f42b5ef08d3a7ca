"""``regulus modelserver``: passes its arguments on as they are, because they are TensorFlow Serving's."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def modelserver(context: typer.Context) -> None:
    """Run the embedded, TensorFlow-Serving-compatible model server."""
    from service.modelserver.server import run

    raise typer.Exit(run(context.args))
