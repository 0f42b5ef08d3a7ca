"""The ``regulus`` command. Each subcommand lives in a module of its own and is imported only when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from service import __version__

#: Subcommand → (module that defines it, its line in ``regulus --help``). The module's ``app`` (a Typer) is the command.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("service.cli.demo", "Watch Regulus keep a model server inside its latency objective."),
    "serve": ("service.cli.serve", "Run the control service."),
    "modelserver": ("service.cli.modelserver", "Run the embedded, TensorFlow-Serving-compatible model server."),
    "node": ("service.cli.node", "Run TensorFlow Serving behind Envoy, reconfigurable without loss."),
    "models": ("service.cli.models", "Build and export the example models."),
    "load": ("service.cli.load", "Generate open-loop load against a model server."),
    "bench": ("service.cli.bench", "Benchmark the policies (in a checkout of the repository)."),
    "status": ("service.cli.status", "Show models, objectives, configurations and the latest decisions."),
    "recommend": ("service.cli.recommend", "Ask for a configuration, for the present or a given load."),
    "slo": ("service.cli.slo", "Show or change a model's objective."),
    "mode": ("service.cli.mode", "Show or change how much Regulus may do for a model."),
    "why": ("service.cli.why", "Tell why something was done, or why nothing is."),
    "ledger": ("service.cli.ledger", "Show what following the recommendations would have brought."),
    "kill-switch": ("service.cli.kill_switch", "Stop every automatic action for all models at once."),
    "decisions": ("service.cli.decisions", "List what was decided, and why."),
    "config": ("service.cli.config", "Show or set the configuration in force."),
    "token": ("service.cli.token", "Make, list and revoke tokens for the control service and for agents."),
    "history": ("service.cli.history", "Export the history to a file, or import one."),
    "rollback": ("service.cli.rollback", "Return to the last known good configuration."),
}


class LazyGroup(TyperGroup):
    """Knows every command of :data:`COMMANDS` by its line of help, and imports only the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=help_line) for name, (_, help_line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported, in place of its line of help."""
        name, known, rest = super().resolve_command(ctx, args)
        if name is None or known is None:
            return name, known, rest
        module, _ = COMMANDS[name]
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = name
        return name, command, rest


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
