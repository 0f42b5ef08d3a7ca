"""The commands of ``regulus bench``. Each is imported when it is called: they need different things."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: Command → (module, function, its line in ``regulus bench --help``).
COMMANDS: dict[str, tuple[str, str, str]] = {
    "record": ("benchmarks.record.command", "record", "Measure a landscape: every configuration on a live server."),
    "run": ("benchmarks.replay.command", "run", "Let every policy steer replayed landscapes."),
    "report": (
        "benchmarks.replay.command",
        "report_command",
        "Rebuild every table and plot from committed results.",
    ),
    "live": ("benchmarks.live.command", "live", "Let the same policies steer a live server, one after another."),
}


class LazyGroup(TyperGroup):
    """Knows every command by its line of help, and imports only the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, _, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported, in place of its line of help."""
        name, known, rest = super().resolve_command(ctx, args)
        if name is None or known is None:
            return name, known, rest
        module, function, _ = COMMANDS[name]
        one = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        one.command()(getattr(importlib.import_module(module), function))
        command = typer.main.get_command(one)
        command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False
)


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def _root() -> None:
    """Benchmarks of the policies: record landscapes, replay them, report; and the same on a live server."""
