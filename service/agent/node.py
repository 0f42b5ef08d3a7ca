"""Reconfigurable: what a node must be able to do so that the agent API can be put in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from service.domain.serving_config import ServingConfig


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
