"""The command line: Typer commands that talk to people."""
