"""Reconfigurable: what a node must be able to do so that the agent API can be put in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.serving_config import ServingConfig


@dataclass(frozen=True, slots=True)
class Canary:
    """A configuration that one of several server processes tries out with its share of the requests.

    Attributes:
        generation: The number under which it may come into force.
        config: The configuration.
        ended: Why it is not tried out any more; None while it is.
    """

    generation: int
    config: ServingConfig
    ended: str | None


class Reconfigurable(Protocol):
    """A node: something that serves by a numbered configuration, which can be changed while it does."""

    @property
    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """Lowest and highest value of each knob here. A max_batch_size of 0 stands for batching off."""
        ...

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        ...

    @property
    def generation(self) -> int:
        """Its number."""
        ...

    @property
    def switching(self) -> bool:
        """Whether a change is being made; the old configuration serves."""
        ...

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        """Put a configuration in force; returns when requests are served by it. Cancelled, it has changed nothing.

        Changes are made one after another. The same configuration under the number in force is no change.

        Raises:
            StaleGenerationError: The number is not newer.
            InfeasibleConfigError: The node cannot run it; names the knob.
            NotInForceError: It failed, and the old one has kept serving.
        """
        ...

    async def details(self) -> dict[str, Any]:
        """What else is told of the node, JSON-ready: ``models`` with their versions, and what it likes."""
        ...

    def trouble(self) -> str | None:
        """Why nothing is served at the moment; None while something is."""
        ...

    async def metrics(self) -> str:
        """The metrics page, in Prometheus' text format.

        Raises:
            NoMetricsError: It cannot be had.
        """
        ...


class TriesOut(Protocol):
    """A node that can have one of several server processes try a configuration out."""

    @property
    def canary(self) -> Canary | None:
        """What is tried out, or was last and did not come into force."""
        ...

    async def try_out(self, config: ServingConfig, generation: int) -> None:
        """Have one process run a configuration; returns when it has its share. Cancelled, it has changed nothing.

        Raises:
            StaleGenerationError: The number is not newer.
            InfeasibleConfigError: The node cannot run it, or cannot try it out; names the knob.
            NotInForceError: It did not come up.
        """
        ...

    async def withdraw(self) -> None:
        """Put an end to what is tried out, if anything is; returns when it gets nothing new."""
        ...
