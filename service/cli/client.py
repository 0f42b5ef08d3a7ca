"""The client: how commands ask the control service, and what they say when it does not answer or refuses."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
import typer

DEFAULT_URL = "http://127.0.0.1:8510"

#: A service that is there accepts a connection within milliseconds; three seconds allow for a busy network.
CONNECT_TIMEOUT_SECONDS = 3.0


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    REFUSED = 1
    """The service refused or failed; its message says why."""
    USAGE = 2
    """The command line is wrong."""
    UNREACHABLE = 3
    """The service did not answer."""


EXIT_CODES = (
    "Exit status: 0 done; 1 the service refused or failed; 2 the command line is wrong; 3 the service did not answer."
)


class ClientError(Exception):
    """A command cannot go on.

    Args:
        message: One line, then perhaps more lines of detail.
        code: How the command ends.
    """

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """Asks the control service's REST API. Every call has a time-out; every failure is a ClientError.

    Args:
        url: Root of the API.
        token: Bearer token; None sends none.
        timeout_seconds: Longest wait for an answer.
        tls: For https; True trusts the system's authorities.
    """

    def __init__(self, url: str, token: str | None, timeout_seconds: float, tls: ssl.SSLContext | bool = True) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self._timeout_seconds = timeout_seconds
        try:
            self._http = httpx.Client(
                base_url=url,
                headers=headers,
                timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
                verify=tls,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(f"{url!r} is not a URL: {error}", ExitCode.USAGE) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """The answer to a GET; parameters that are None are left out."""
        return self._ask("GET", path, params={name: value for name, value in query.items() if value is not None})

    def stream(self, path: str, **query: Any) -> Iterator[bytes]:
        """The body of the answer to a GET, piece by piece as it comes."""
        params = {name: value for name, value in query.items() if value is not None}
        with self._failures_told(), self._http.stream("GET", path, params=params) as answer:
            if not answer.is_success:
                answer.read()
                raise ClientError(_told(answer, _content(answer)), ExitCode.REFUSED)
            yield from answer.iter_bytes()

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a PUT."""
        return self._ask("PUT", path, json=body)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a POST."""
        return self._ask("POST", path, json=body)

    def model(self, name: str | None) -> str:
        """Path of a model's resources; without a name that of the only model.

        Raises:
            ClientError: There is more than one model, or none.
        """
        if name is None:
            name = self.only_model()
        return f"/v1/models/{quote(name, safe='')}"

    def only_model(self) -> str:
        """The name of the only model.

        Raises:
            ClientError: There is more than one, or none.
        """
        names = self.names()
        if len(names) != 1:
            there = f"there are {len(names)}: {', '.join(names)}" if names else "the service steers none"
            raise ClientError(f"name a model; {there}", ExitCode.USAGE)
        return names[0]

    def model_and_decision(self, model: str | None, decision: int | None) -> tuple[str | None, int | None]:
        """What two arguments name, either left out: a lone number is a decision, unless a model is called so."""
        if model is not None and model.isdecimal() and decision is None and model not in self.names():
            return None, int(model)
        return model, decision

    def names(self) -> list[str]:
        """The names of all models."""
        return [str(model["name"]) for model in self.get("/v1/models")["models"]]

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        with self._failures_told():
            answer = self._http.request(method, path, **arguments)
        content = _content(answer)
        if answer.is_success and content is not None:
            return content
        raise ClientError(_told(answer, content), ExitCode.REFUSED)

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        """What goes wrong on the way becomes a ClientError."""
        try:
            yield
        except httpx.ConnectError as error:
            hint = "is it running? `regulus serve` starts it; --url or REGULUS_URL says where it is"
            raise ClientError(f"no control service at {self.url} ({error}); {hint}", ExitCode.UNREACHABLE) from error
        except httpx.TimeoutException as error:
            message = f"{self.url} did not answer within {self._timeout_seconds:g} s; see `regulus status`"
            raise ClientError(message, ExitCode.UNREACHABLE) from error
        except httpx.UnsupportedProtocol as error:
            message = f"{self.url!r} is not a URL of a control service, such as {DEFAULT_URL}"
            raise ClientError(message, ExitCode.USAGE) from error
        except httpx.HTTPError as error:
            message = f"{self.url} broke off: {str(error) or type(error).__name__}"
            raise ClientError(message, ExitCode.UNREACHABLE) from error


@contextmanager
def session(url: str, token_file: Path | None, timeout_seconds: float) -> Iterator[Client]:
    """A client for the length of a command; what goes wrong is printed to standard error and ends the command.

    The token comes from ``token_file`` or else from REGULUS_TOKEN, never from a flag: other users see command lines.
    For https, REGULUS_CA names the authorities to trust, and REGULUS_CLIENT_CERTIFICATE (with REGULUS_CLIENT_KEY) a
    certificate to show; PEM files.
    """
    try:
        token = _read_token(token_file) if token_file is not None else os.environ.get("REGULUS_TOKEN")
        with Client(url, token, timeout_seconds, _tls(os.environ)) as client:
            yield client
    except ClientError as error:
        typer.echo(f"error: {clean(str(error))}", err=True)
        raise typer.Exit(error.code) from None


def clean(text: str) -> str:
    """Text from elsewhere without control characters, which could rewrite the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"the token in {path} cannot be read: {error}", ExitCode.USAGE) from error


def _tls(environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    ca, certificate, key = (
        Path(environment[name]) if environment.get(name) else None
        for name in ("REGULUS_CA", "REGULUS_CLIENT_CERTIFICATE", "REGULUS_CLIENT_KEY")
    )
    if ca is None and certificate is None:
        return True
    # Imported here so that commands without it start fast.
    from service.access.tls import client_context
    from service.domain.errors import InvalidValueError

    try:
        return client_context(ca, certificate, key, field="REGULUS_CA or REGULUS_CLIENT_CERTIFICATE")
    except InvalidValueError as error:
        raise ClientError(str(error), ExitCode.USAGE) from error


def _content(answer: httpx.Response) -> Any:
    """The answer's JSON; None where it is none."""
    try:
        return answer.json()
    except ValueError:
        return None


def _told(answer: httpx.Response, content: Any) -> str:
    """What a refusal says: the problem's title and detail, or its fields one a line."""
    if not isinstance(content, dict) or "title" not in content:
        return f"{answer.request.url} answered {answer.status_code} and is no Regulus control service"
    faults = content.get("errors") or []
    if faults:
        return "\n".join([f"{content['title']}", *(f"  {fault['field']}: {fault['message']}" for fault in faults)])
    message = f"{content['title']}: {content.get('detail', '')}"
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        message += f" (request_id {content.get('request_id', '?')})"
    return message
