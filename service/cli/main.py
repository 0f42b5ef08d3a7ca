"""The ``regulus`` command. Each subcommand lives in a module of its own and is imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from service import __version__

#: Subcommand → (module that defines it, its line in ``regulus --help``). The module's ``app`` (a Typer) is the command.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("service.cli.demo", "Watch Regulus keep a model server inside its latency objective."),
    "serve": ("service.cli.serve", "Run the control service."),
    "modelserver": ("service.cli.modelserver", "Run the embedded, TensorFlow-Serving-compatible model server."),
    "models": ("service.cli.models", "Build and export the example models."),
    "load": ("service.cli.load", "Generate open-loop load against a model server."),
    "status": ("service.cli.status", "Show models, objectives, configurations and the latest decisions."),
    "recommend": ("service.cli.recommend", "Ask for a configuration, for the present or a given load."),
    "slo": ("service.cli.slo", "Show or change a model's objective."),
    "mode": ("service.cli.mode", "Show or change how much Regulus may do for a model."),
    "decisions": ("service.cli.decisions", "List what was decided, and why."),
    "config": ("service.cli.config", "Show or set the configuration in force."),
    "rollback": ("service.cli.rollback", "Return to the last known good configuration."),
}


class LazyGroup(TyperGroup):
    """Finds commands in :data:`COMMANDS`, so that ``regulus --help`` stays fast and TensorFlow-free."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All command names, in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command's module; None for a name that is not a command."""
        if cmd_name not in COMMANDS:
            return None
        module, help_line = COMMANDS[cmd_name]
        if _only_help_wanted():
            return TyperCommand(cmd_name, help=help_line)
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        return command


def _only_help_wanted() -> bool:
    """Whether the command line asks for the group's own help, which needs one line a command and no imports."""
    return len(sys.argv) <= 1 or sys.argv[1] in ("--help", "-h")


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False
)


@app.callback(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Regulus keeps an ML model server inside its latency objective by reconfiguring it while it serves."""
    if version:
        typer.echo(f"regulus {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the ``regulus`` script."""
    app()


if __name__ == "__main__":
    main()
