"""Settings of the control service: what there is to set, its unit, and why this default.

One tree: ``server``, ``store``, ``log``, ``loop`` and the list ``models``. Where the values come from is the business
of :mod:`service.api.settings_sources`; a ``Settings`` made in code reads nothing from its surroundings.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from service.access.exposure import check_exposure
from service.access.token_file import TokenSource, single
from service.access.tokens import Token, check_secret
from service.control.settings import LoopSettings, ModelSettings
from service.control.settings import Settings as Section
from service.domain.errors import InvalidValueError

#: Beside TensorFlow Serving's 8500 and 8501.
DEFAULT_PORT = 8510


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
    tokens_file: Path | None = Field(
        default=None,
        description="File of tokens with scopes, made by `regulus token create`; it holds digests, never a token, and "
        "is read again whenever it changes. Unset: none.",
    )
    auth_token: SecretStr | None = Field(
        default=None,
        description="One bearer token that allows everything, at least 16 characters; in logs its bearer is "
        "called default. Better given by auth_token_file. Unset: none. Without any token only loopback is served.",
    )
    auth_token_file: Path | None = Field(
        default=None,
        description="File that holds that one token, such as a mounted secret; read again whenever it changes, space "
        "around it is ignored. Unset: none.",
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file: the server's certificate and those between it and the root. With it the service speaks "
        "HTTPS only; a renewed one is taken within seconds. Unset: plain HTTP, for loopback or a proxy in front.",
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file: the certificate's key, without a passphrase. Unset: none."
    )
    tls_client_ca: Path | None = Field(
        default=None,
        description="PEM file: authorities, one of which must have signed the certificate that a client shows, beside "
        "its token. Unset: clients show none.",
    )
    requests_per_second: float = Field(
        default=50.0,
        gt=0,
        le=1_000_000,
        description="Requests a second that one token (without tokens: one address) may make in the long run; more "
        "are answered 429. A dashboard makes one.",
    )
    request_burst: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Requests (count) that it may make at once after a pause.",
    )
    max_header_bytes: int = Field(
        default=16_384,
        ge=1_024,
        le=1_048_576,
        description="Largest head of a request, bytes: path, query and headers.",
    )
    header_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="Longest wait for a request's head, and for the first one on a new connection, seconds.",
    )
    max_connections: int = Field(
        default=512,
        ge=1,
        le=100_000,
        description="Connections at once (count); on more, requests are answered 503. Bounds memory and open files.",
    )
    max_body_bytes: int = Field(
        default=65_536,
        ge=1_024,
        le=16_777_216,
        description="Largest request body, bytes. The largest sensible one, a configuration with many allowed batch "
        "sizes, is below 10 kB.",
    )
    max_import_bytes: int = Field(
        default=1_073_741_824,
        ge=1_024,
        le=1_099_511_627_776,
        description="Largest history that may be imported through the API, bytes; as much room is needed for temporary "
        "files. 1 GiB holds ten models with all that is kept by default.",
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
            check_secret("auth_token", self.auth_token.get_secret_value())
        for given, other in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
            if getattr(self, given) is not None and getattr(self, other) is None:
                raise InvalidValueError(given, f"needs {other} beside it")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise InvalidValueError("tls_client_ca", "needs tls_certificate and tls_key beside it")
        check_exposure(
            self.host, authenticated=self.asks_for_token, field="host", remedy="tokens_file or auth_token_file"
        )
        return self

    @property
    def asks_for_token(self) -> bool:
        """Whether callers must show a token."""
        return any(given is not None for given in (self.auth_token, self.auth_token_file, self.tokens_file))

    def tokens(self) -> TokenSource | None:
        """The tokens that count; None where none is asked for. Files are read.

        Raises:
            InvalidValueError: A file cannot be read, or holds no tokens.
        """
        if not self.asks_for_token:
            return None
        fixed: list[Token] = []
        if self.auth_token is not None:
            fixed.append(single(self.auth_token.get_secret_value()))
        named = (("server.auth_token_file", self.auth_token_file), ("server.tokens_file", self.tokens_file))
        return TokenSource(fixed, [(path, name) for name, path in named if path is not None])


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


class AuditSettings(Section):
    """Where it is written down who changed what, and who was refused."""

    file: Path | None = Field(
        default=None,
        description="File to which one JSON line an attempt is appended; it may be renamed away at any time, as "
        "logrotate does. Unset: the entries are lines of the log, named audit.",
    )


class AgentsSettings(Section):
    """How the service shows the agents of its nodes who it is, and how it knows them. The same for all nodes."""

    token: SecretStr | None = Field(
        default=None,
        description="Bearer token that the agents ask for, at least 16 characters. Better given by token_file. It is "
        "sent to the hosts of agent_url only. Unset: none is sent.",
    )
    token_file: Path | None = Field(
        default=None,
        description="File that holds that token; read again whenever it changes, space around it is ignored. Unset: "
        "none.",
    )
    ca: Path | None = Field(
        default=None,
        description="PEM file: authorities that sign the agents' certificates, for https addresses. Unset: the "
        "system's.",
    )
    client_certificate: Path | None = Field(
        default=None,
        description="PEM file: certificate that is shown to agents that ask for one (mutual TLS). Unset: none.",
    )
    client_key: Path | None = Field(
        default=None,
        description="PEM file: its key, without a passphrase. Unset: it stands in client_certificate.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise InvalidValueError("token_file", "give token or token_file, not both")
        if self.token is not None:
            check_secret("token", self.token.get_secret_value())
        if self.client_key is not None and self.client_certificate is None:
            raise InvalidValueError("client_key", "needs client_certificate beside it")
        return self


class Settings(Section):
    """All settings of the control service."""

    server: ServerSettings = Field(default=ServerSettings(), description="Where the API listens, and to whom.")
    store: StoreSettings = Field(default=StoreSettings(), description="Where the history is kept.")
    log: LogSettings = Field(default=LogSettings(), description="What is logged, to standard error.")
    audit: AuditSettings = Field(
        default=AuditSettings(), description="Where it is written down who changed what, and who was refused."
    )
    agents: AgentsSettings = Field(
        default=AgentsSettings(),
        description="How the service shows the agents of its nodes who it is, and how it knows them.",
    )
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
