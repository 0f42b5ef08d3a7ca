"""Servers whose configuration can be changed: what the benchmarks need of one, and how the embedded one is started."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from service.backends.agent_backend import AgentBackend
from service.backends.protocol import Backend
from service.cli.demo.ports import Ports, claim
from service.cli.demo.stack import model_server
from service.domain.serving_config import ServingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A server that runs.

    Attributes:
        grpc: Where gRPC is, ``grpc://…``.
        rest: Where REST is, ``http://…``.
        backend: Its agent.
        pid: Its process.
    """

    grpc: str
    rest: str
    backend: Backend
    pid: int

    async def put(self, config: ServingConfig) -> None:
        """Put a configuration in force; returns when requests are served by it.

        Raises:
            BackendError, InfeasibleConfigError: It was not.
        """
        state = await self.backend.read()
        if state.config != config:
            await self.backend.apply(config, state.generation + 1)


#: Starts a server: (model, folder that holds the model's folder, folder for logs) → the running server.
StartNode = Callable[[str, Path, Path], AbstractAsyncContextManager[Node]]


@asynccontextmanager
async def embedded(model: str, models_dir: Path, folder: Path) -> AsyncIterator[Node]:
    """``regulus modelserver`` without any tuning flag, on free ports.

    Args:
        model: Name of an exported model.
        models_dir: Folder that holds it.
        folder: For logs.
    """
    async with model_server(model, models_dir, claim(Ports(0, 0, 0, 0)), folder) as stack:
        yield Node(
            grpc=stack.target,
            rest=f"http://127.0.0.1:{stack.ports.rest}",
            backend=AgentBackend(f"http://127.0.0.1:{stack.ports.agent}", stack.client),
            pid=stack.server.process.pid,
        )


def batching_on(cpus: int) -> ServingConfig:
    """Batches of up to 32 that wait for nobody, and as many of them at once as there are processors."""
    return ServingConfig(
        enable_batching=True,
        max_batch_size=32,
        batch_timeout_micros=0,
        num_batch_threads=cpus,
        tensorflow_intra_op_parallelism=1,
    )
