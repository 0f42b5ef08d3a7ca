"""Settings of the control service: what there is to set, its unit, and why this default.

One tree: ``server``, ``store``, ``log``, ``loop`` and the list ``models``. Where the values come from is the business
of :mod:`service.api.settings_sources`; a ``Settings`` made in code reads nothing from its surroundings.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from service.api.auth import is_loopback
from service.control.settings import LoopSettings, ModelSettings
from service.control.settings import Settings as Section
from service.domain.errors import InvalidValueError

#: Beside TensorFlow Serving's 8500 and 8501.
DEFAULT_PORT = 8510

#: Shorter tokens can be guessed.
MIN_TOKEN_CHARS = 16


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What a log line looks like."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class ServerSettings(Section):
    """Where the API listens, and to whom."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. Loopback, because whoever reaches the API steers the model servers; another "
        "address is refused unless a token is set.",
    )
    port: int = Field(
        default=DEFAULT_PORT,
        ge=0,
        le=65535,
        description="TCP port to listen on; 0 takes a free one and says which. 8510 stands beside TensorFlow Serving's "
        "8500 and 8501.",
    )
    auth_token: SecretStr | None = Field(
        default=None,
        description="Bearer token that every request must carry, at least 16 characters. Better given by "
        "auth_token_file. Unset: none is needed, and only loopback is served.",
    )
    auth_token_file: Path | None = Field(
        default=None,
        description="File that holds the token, such as a mounted secret; read once at the start, space around it is "
        "ignored. Unset: none.",
    )
    max_body_bytes: int = Field(
        default=65_536,
        ge=1_024,
        le=16_777_216,
        description="Largest request body, bytes. The largest sensible one, a configuration with many allowed batch "
        "sizes, is below 10 kB.",
    )
    body_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="Longest wait for a request's body, seconds, so that a slow sender holds no place for long.",
    )
    max_concurrent_requests: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Requests in progress at once (count); more are answered 503. People and scrapers need a handful; "
        "a bound keeps a runaway client from starving the loops.",
    )
    shutdown_timeout_seconds: float = Field(
        default=10.0,
        ge=1,
        le=600,
        description="How long requests in progress may go on after SIGTERM, seconds. Orchestrators commonly kill "
        "after 30.",
    )

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.auth_token is not None and self.auth_token_file is not None:
            raise InvalidValueError("auth_token_file", "give auth_token or auth_token_file, not both")
        if self.auth_token is not None:
            _check_token("auth_token", self.auth_token.get_secret_value())
        if not is_loopback(self.host) and self.auth_token is None and self.auth_token_file is None:
            raise InvalidValueError(
                "host",
                f"{self.host} can be reached from other machines, which needs a token: set auth_token_file, or listen "
                "on 127.0.0.1",
            )
        return self

    def token(self) -> str | None:
        """The bearer token; None where none is needed.

        Raises:
            InvalidValueError: The file cannot be read, or what it holds is no token.
        """
        if self.auth_token is not None:
            return self.auth_token.get_secret_value()
        if self.auth_token_file is None:
            return None
        try:
            token = self.auth_token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValueError(
                "server.auth_token_file", f"{self.auth_token_file} cannot be read: {error}"
            ) from error
        _check_token("server.auth_token_file", token)
        return token


def _check_token(field: str, token: str) -> None:
    if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidValueError(field, f"a token is at least {MIN_TOKEN_CHARS} visible ASCII characters")


class StoreSettings(Section):
    """Where the history is kept."""

    url: str = Field(
        default="sqlite:///regulus.db",
        min_length=1,
        description="Database: sqlite:///relative.db, sqlite:////absolute.db or postgresql+psycopg://user@host/name. "
        "The default is a file in the working directory: visible, and nothing is hidden in a home directory.",
    )


class LogSettings(Section):
    """What is logged, to standard error."""

    level: LogLevel = Field(
        default=LogLevel.INFO,
        description="Least severe level that is logged: debug, info, warning or error. info holds one line a decision "
        "and one a request, health checks excepted.",
    )
    format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="console for people, json for machines, auto for console on a terminal and json elsewhere.",
    )


class Settings(Section):
    """All settings of the control service."""

    server: ServerSettings = Field(default=ServerSettings(), description="Where the API listens, and to whom.")
    store: StoreSettings = Field(default=StoreSettings(), description="Where the history is kept.")
    log: LogSettings = Field(default=LogSettings(), description="What is logged, to standard error.")
    loop: LoopSettings = Field(default=LoopSettings(), description="How the loop watches, judges and acts.")
    models: tuple[ModelSettings, ...] = Field(
        default=(), description="The models to steer, at least one: a service without one has nothing to do."
    )

    @model_validator(mode="after")
    def _models_can_be_told_apart(self) -> Self:
        if not self.models:
            raise InvalidValueError(
                "models",
                "none to steer; list one in a settings file (`regulus serve --example-config` prints one) or name one "
                "with --model",
            )
        names = [model.name for model in self.models]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise InvalidValueError(f"models[{index}].name", f"{name!r} is given twice; names must be unique")
        return self
