"""``regulus history``: the history as a file: out of a service or a database, and into a database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from service.cli import options, output
from service.cli.client import EXIT_CODES, ExitCode, clean, session

if TYPE_CHECKING:
    from service.store import Store

app = typer.Typer(add_completion=False, no_args_is_help=True)

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        help="Database to open itself, such as sqlite:///regulus.db.",
        show_default=False,
        metavar="URL",
    ),
]


@app.callback()
def _history() -> None:
    """Keep, move and bring back the history, as lines of JSON."""


@app.command("export", epilog=EXIT_CODES)
def export(
    model: Annotated[
        str | None, typer.Option("--model", help="Only this model; left out: all.", show_default=False)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; left out: standard output.", show_default=False),
    ] = None,
    database: Database = None,
    url: options.Url = options.URL,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = options.TIMEOUT_SECONDS,
) -> None:
    """Write states, observations and decisions as lines of JSON.

    Asks the control service; with --database it reads a database itself, also while no service runs.
    """
    if database is not None:
        with _opened(database) as store:
            _write((line.encode() for line in store.export(model)), to)
        return
    with session(url, token_file, timeout) as api:
        _write(api.stream("/v1/history", model=model), to)


@app.command("import", epilog=EXIT_CODES)
def take_in(
    file: Annotated[Path, typer.Argument(help="What `regulus history export` wrote; - reads standard input.")],
    database: Database = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="REGULUS_CONFIG",
            help="Settings file of the service whose database it is, where --database does not say it; left out: "
            "./regulus.toml where there is one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Take an export into a database: all of it, or nothing. Importing again changes nothing.

    It only appends. To join two histories, import the older one first. Best done while no service runs on the database:
    one that does changes nothing until the import is through.
    """
    with _readable(file) as lines, _opened(database or _of_settings(config), file) as store:
        taken = store.take_in(lines)
    output.line(
        f"{taken.observations} observations, {taken.decisions} decisions and the state of {taken.states} models were "
        f"taken in; {taken.known} lines were known"
    )


def _write(pieces: Iterator[bytes], to: Path | None) -> None:
    if to is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    unfinished = to.with_name(f"{to.name}.part")
    try:
        with unfinished.open("wb") as written:
            for piece in pieces:
                written.write(piece)
        unfinished.replace(to)
    except OSError as error:
        raise _ended(f"{to} cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _readable(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = file.open("rb")
    except OSError as error:
        raise _ended(f"{file} cannot be read: {error.strerror}") from None
    with lines:
        yield lines


@contextmanager
def _opened(database: str, file: Path | None = None) -> Iterator[Store]:
    """The store; what goes wrong with it, or with the lines of ``file``, ends the command."""
    # Imported here so that --help stays fast.
    from service.domain.errors import InvalidValueError, StoreError
    from service.store import Store

    try:
        with closing(Store.open(database)) as store:
            yield store
    except InvalidValueError as error:
        raise _ended(f"{file}, {error}; nothing was taken in") from None
    except StoreError as error:
        raise _ended(str(error)) from None


def _of_settings(config: Path | None) -> str:
    from service.api import settings_sources
    from service.api.settings_sources import SettingsError

    try:
        return settings_sources.load(config).store.url
    except SettingsError as error:
        raise _ended(f"--database is not given, and the settings cannot be read:\n{error}") from None


def _ended(message: str) -> typer.Exit:
    typer.echo(f"error: {clean(message)}", err=True)
    return typer.Exit(ExitCode.REFUSED)
