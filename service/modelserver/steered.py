"""SteeredServer: the embedded server as the agent API steers it; numbers its configurations, one change at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.agent.errors import NotInForceError
from service.domain.errors import StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.modelserver.status import ServingError

SERVER_KIND = "regulus-embedded"

#: Lowest and highest value of each knob here. A max_batch_size of 0 stands for batching off.
KNOB_BOUNDS: Mapping[str, tuple[int, int]] = {
    "max_batch_size": (0, 1 << 20),
    "batch_timeout_micros": (0, 60_000_000),
    "num_batch_threads": (1, 256),
    "tensorflow_inter_op_parallelism": (0, 256),
    "tensorflow_intra_op_parallelism": (0, 256),
    "instances": (1, 16),
}


class Manager(Protocol):
    """What is steered: the model manager."""

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        ...

    async def reconfigure(self, config: ServingConfig) -> None:
        """Put a configuration in force everywhere or, also when it is cancelled, nowhere."""
        ...


class SteeredServer:
    """Implements :class:`service.agent.node.Reconfigurable`.

    Args:
        manager: What is steered.
        on_generation: Told the number of each configuration that comes into force.
        models: Names and versions of what is served, JSON-ready.
        render_metrics: The metrics page.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        on_generation: Callable[[int], None],
        models: Callable[[], list[dict[str, Any]]],
        render_metrics: Callable[[], str],
    ) -> None:
        self._manager = manager
        self._on_generation = on_generation
        self._models = models
        self._render_metrics = render_metrics
        self._turn = asyncio.Lock()
        self.bounds = KNOB_BOUNDS
        """Lowest and highest value of each knob here."""
        self.generation = 0
        """The number of the configuration in force."""
        self.switching = False
        """Whether a change is being made; the old configuration serves."""
        on_generation(0)

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        return self._manager.config

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        """Put a configuration in force, or leave the old one serving."""
        async with self._turn:
            if generation == self.generation and config == self.config:
                return
            if generation <= self.generation:
                raise StaleGenerationError(generation, self.generation)
            self.switching = True
            try:
                await self._manager.reconfigure(config)
            except ServingError as error:
                raise NotInForceError(f"{error.code.name}: {error.message}") from error
            finally:
                self.switching = False
            self.generation = generation
            self._on_generation(generation)

    async def details(self) -> dict[str, Any]:
        """The models' versions."""
        return {"models": self._models()}

    def trouble(self) -> str | None:
        """None: the agent begins to answer once the models are available."""
        return None

    async def metrics(self) -> str:
        """The metrics page."""
        return self._render_metrics()
