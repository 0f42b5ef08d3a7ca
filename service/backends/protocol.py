"""Backend: the one actuator that the control loop knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from service.domain.serving_config import ServingConfig


class BackendPhase(StrEnum):
    """What the node is doing."""

    SERVING = "serving"
    SWITCHING = "switching"


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What the node can do.

    Attributes:
        bounds: Lowest and highest value for each knob it can change; a knob that is missing cannot be changed.
        cpus: Processors the node may use (cgroup quota, not the host's count); may be fractional.
        memory_bytes: Memory limit; None when unlimited or unknown.
        canary: Whether one of several server processes can try a configuration out; see :class:`TriesOut`.
    """

    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    cpus: float = 1.0
    memory_bytes: int | None = None
    canary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryState:
    """A configuration that one of several server processes tries out.

    Attributes:
        generation: The number under which it may come into force.
        config: The configuration.
        ended: Why the node put an end to it; None while it lasts.
    """

    generation: int
    config: ServingConfig
    ended: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendState:
    """What an agent says of its node.

    Attributes:
        config: Configuration in force.
        generation: Number of that configuration; grows with each change.
        phase: Serving, or in the middle of a switch (the old one still serves).
        support: What the node can do.
        server_kind: Which server it runs, such as ``regulus-embedded`` or ``tensorflow_model_server``.
        server_version: That server's version.
        lease_holder: The controller that writes; None while anybody may.
        canary: What one process tries out, or tried out last and was not put in force; None for nothing.
        details: Anything else the agent says, JSON-ready.
    """

    config: ServingConfig
    generation: int
    phase: BackendPhase
    support: Support
    server_kind: str = "unknown"
    server_version: str = "unknown"
    lease_holder: str | None = None
    canary: CanaryState | None = None
    details: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Backend(Protocol):
    """Reads and changes the configuration of one node. Every call has a time-out. Safe for concurrent use."""

    async def read(self) -> BackendState:
        """What is in force.

        Raises:
            BackendUnavailableError: No (readable) answer in time.
        """
        ...

    async def apply(self, config: ServingConfig, generation: int) -> BackendState:
        """Put ``config`` in force under the number ``generation`` and return once requests are served by it.

        Idempotent: the same configuration under the generation already in force is answered at once.

        Raises:
            LeaseHeldError: Another controller writes to this node.
            StaleGenerationError: ``generation`` is not newer than the one in force.
            InfeasibleConfigError: The node cannot run it; names the knob.
            ApplyTimeoutError: Not ready in time; the old configuration has kept serving.
            BackendUnavailableError: No (readable) answer; the outcome is unknown, read before acting again.
        """
        ...

    async def close(self) -> None:
        """Release the lease and connections. Idempotent."""
        ...


@runtime_checkable
class TriesOut(Protocol):
    """A backend of nodes that can have one of several server processes try a configuration out."""

    async def try_out(self, config: ServingConfig, generation: int) -> BackendState:
        """Give ``config`` to one process with its share of the requests; return once it has that.

        :meth:`Backend.apply` of the same configuration under the same number lets the others follow; of any other, or
        :meth:`withdraw`, puts an end to it. So does the node itself, if nobody else does.

        Raises:
            LeaseHeldError, StaleGenerationError, InfeasibleConfigError, ApplyTimeoutError: It is not tried out.
            BackendUnavailableError: No (readable) answer; the outcome is unknown.
        """
        ...

    async def withdraw(self) -> None:
        """Put an end to what is tried out, if anything is.

        Raises:
            LeaseHeldError: Another controller writes to this node.
            BackendUnavailableError: No (readable) answer; the outcome is unknown.
        """
        ...
