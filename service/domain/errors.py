"""Every error that Regulus raises on purpose.

RegulusError
├── InvalidValueError (ValueError)        a value that breaks a rule; names the field
│   └── InfeasibleConfigError             a configuration that the node cannot run
├── BackendError
│   ├── BackendUnavailableError           no answer from the agent
│   ├── StaleGenerationError              somebody else wrote a newer configuration
│   ├── LeaseHeldError                    another controller holds the node's lease
│   └── ApplyTimeoutError (TimeoutError)  not AVAILABLE in time; the old configuration serves on
├── TelemetryError                        metrics could not be fetched or read
├── StoreError                            history could not be read or written
└── UnknownModelError (KeyError)          a model this service does not steer
"""


class RegulusError(Exception):
    """Root of all errors that Regulus raises on purpose."""


class InvalidValueError(RegulusError, ValueError):
    """A value breaks a rule.

    Args:
        field: Dotted path of the offending field, as the user wrote it.
        message: What is wrong and what would be right.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InfeasibleConfigError(InvalidValueError):
    """The node cannot run this configuration; ``field`` names the knob."""


class BackendError(RegulusError):
    """The place where configurations go did not do what was asked."""


class BackendUnavailableError(BackendError):
    """The agent did not answer, or not in time. Nothing is known to have changed."""


class StaleGenerationError(BackendError):
    """The agent already holds a generation that is as new or newer.

    Args:
        requested: The generation that was sent.
        current: The generation in force, where the agent told it.
    """

    def __init__(self, requested: int, current: int | None = None) -> None:
        super().__init__(f"generation {requested} is stale: the agent is at {current}")
        self.requested = requested
        self.current = current


class LeaseHeldError(BackendError):
    """Another controller holds the lease of this node; nothing has changed.

    Args:
        holder: Its name.
        since: When it began to hold it, Unix time; None where that is not told.
        expires: When the lease runs out unless it is renewed, Unix time; None where that is not told.
    """

    def __init__(self, holder: str, since: float | None = None, expires: float | None = None) -> None:
        super().__init__(f"{holder} holds the lease of this node")
        self.holder = holder
        self.since = since
        self.expires = expires


class ApplyTimeoutError(BackendError, TimeoutError):
    """The new configuration was not ready in time; the old one has kept serving throughout."""


class TelemetryError(RegulusError):
    """Metrics could not be fetched or understood. The loop holds."""


class StoreError(RegulusError):
    """History could not be read or written."""


class UnknownModelError(RegulusError, KeyError):
    """This service does not steer a model of that name."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"no model named {self.model!r} is steered by this service"
