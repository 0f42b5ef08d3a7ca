"""SteeredNode: a node as the agent API steers it; says in the agent's words what goes wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from service.agent.errors import NoMetricsError, NotInForceError
from service.agent.node import Canary
from service.domain.serving_config import ServingConfig
from service.node.errors import FrontError, HeadRoomError, NodeError
from service.node.node import Node


class SteeredNode:
    """Implements :class:`service.agent.node.Reconfigurable` and :class:`service.agent.node.TriesOut`.

    Args:
        node: The node.
        model: Name of its model.
    """

    def __init__(self, node: Node, model: str) -> None:
        self._node = node
        self._model = model

    @property
    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """Lowest and highest value of each knob here."""
        return self._node.bounds

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        return self._node.config

    @property
    def generation(self) -> int:
        """Its number."""
        return self._node.generation

    @property
    def switching(self) -> bool:
        """Whether a change is being made."""
        return self._node.switching

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        """Put a configuration in force, or leave the old one serving."""
        with _in_the_agents_words():
            await self._node.reconfigure(config, generation)

    @property
    def canary(self) -> Canary | None:
        """What one process tries out, or tried out last and was not put in force."""
        trial = self._node.trial
        return None if trial is None else Canary(trial.generation, trial.config, trial.ended)

    async def try_out(self, config: ServingConfig, generation: int) -> None:
        """Have one process run a configuration, or leave all as it is."""
        with _in_the_agents_words():
            await self._node.try_out(config, generation)

    async def withdraw(self) -> None:
        """Put an end to what is tried out."""
        await self._node.withdraw()

    async def details(self) -> dict[str, Any]:
        """The model's versions, the processes that get requests, and what was taken back."""
        taken_back = self._node.taken_back
        return {
            "models": [{"name": self._model, "versions": await self._node.versions()}],
            "processes": [
                {"pid": one.pid, "generation": one.generation, "grpc_port": one.grpc_port, "rest_port": one.rest_port}
                for one in self._node.serving
            ],
            "taken_back": taken_back.to_dict() if taken_back is not None else None,
        }

    def trouble(self) -> str | None:
        """Whether a server process runs."""
        return None if self._node.serving else "No server process runs; one is being started."

    async def metrics(self) -> str:
        """The metrics page."""
        try:
            return await self._node.metrics()
        except FrontError as error:
            raise NoMetricsError(str(error)) from error


@contextlib.contextmanager
def _in_the_agents_words() -> Iterator[None]:
    try:
        yield
    except HeadRoomError as error:
        raise NotInForceError(f"The change {error}. That may be otherwise later.") from error
    except NodeError as error:
        raise NotInForceError(str(error)) from error
