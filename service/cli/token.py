"""``regulus token``: make, list and revoke tokens. Works on a file on this machine; no service need run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.access.scopes import Scope
from service.cli import output
from service.domain.errors import InvalidValueError

if TYPE_CHECKING:
    from service.access.tokens import Token, Tokens

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make, list and revoke tokens.")

_DAY_SECONDS = 86_400.0

File = Annotated[
    Path,
    typer.Option(
        "--file",
        envvar="REGULUS_SERVER__TOKENS_FILE",
        help="The tokens file, as the setting server.tokens_file names it. Made where it is not there.",
    ),
]
_FILE = Path("regulus-tokens.json")
Name = Annotated[str, typer.Option("--name", help="Who or what it is for; logs call its bearer so.")]


@app.command(epilog="Exit status: 0 done; 1 it could not be; 2 the command line is wrong.")
def create(
    name: Name,
    scope: Annotated[Scope, typer.Option(help="What it allows; each includes those before it.")] = Scope.READ,
    days: Annotated[
        float | None, typer.Option(help="How long it counts; for ever when left out.", min=0.001, show_default=False)
    ] = None,
    from_stdin: Annotated[
        bool, typer.Option("--from-stdin", help="Take the token from standard input instead of making one.")
    ] = False,
    file: File = _FILE,
) -> None:
    """Make a token and print it: this once, for only its digest is kept.

    A running service counts it at once. --from-stdin moves a token that others use already into the file.
    """
    from service.access import token_file
    from service.access.tokens import Token, check_secret, digest_of, new_secret

    with _told():
        secret = sys.stdin.read().strip() if from_stdin else new_secret()
        check_secret("token", secret)
        now = time.time()
        expires = now + days * _DAY_SECONDS if days is not None else None
        made = Token(name, scope, digest_of(secret), created_at=now, expires_at=expires)

        def add(tokens: Tokens) -> Sequence[Token]:
            if any(token.name == name for token in tokens):
                raise InvalidValueError("name", f"{name!r} has a token already; revoke it, or choose another name")
            return [*tokens, made]

        token_file.change(file, add)
    typer.echo(f"{name!r} may {scope.value}; kept in {file}. The token, shown only now:", err=True)
    if not from_stdin:
        output.line(secret)


@app.command("list", epilog="Exit status: 0 done; 1 it could not be; 2 the command line is wrong.")
def show(file: File = _FILE) -> None:
    """List tokens: names, scopes, ages; the tokens themselves are known to their bearers alone."""
    from service.access import token_file

    with _told():
        tokens = token_file.read(file, "file")
    now = time.time()
    rows = [
        (token.name, token.scope.value, output.moment(token.created_at), _ending(token.expires_at, now))
        for token in tokens
    ]
    output.show(output.table(("name", "scope", "made", "ends"), rows))


@app.command(epilog="Exit status: 0 done; 1 it could not be; 2 the command line is wrong.")
def revoke(name: Name, file: File = _FILE) -> None:
    """Take a token back. A running service refuses it from its next request on."""
    from service.access import token_file

    def remove(tokens: Tokens) -> Sequence[Token]:
        kept = [token for token in tokens if token.name != name]
        if len(kept) == len(tokens):
            there = ", ".join(token.name for token in tokens) or "none"
            raise InvalidValueError("name", f"there is no token for {name!r}; there is {there}")
        return kept

    with _told():
        token_file.change(file, remove)
    typer.echo(f"{name!r} is revoked", err=True)


def _ending(expires_at: float | None, now: float) -> str:
    if expires_at is None:
        return "never"
    return f"{output.moment(expires_at)}{' (ended)' if now >= expires_at else ''}"


@contextmanager
def _told() -> Iterator[None]:
    """Errors are one line, and end the command."""
    try:
        yield
    except InvalidValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
