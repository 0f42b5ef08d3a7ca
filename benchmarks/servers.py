"""Servers whose configuration can be changed: what the benchmarks need of one, and how each kind is started."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.backends.agent_backend import AgentBackend
from service.backends.protocol import Backend
from service.cli.demo.ports import Ports, claim
from service.cli.demo.processes import Child
from service.cli.demo.stack import HTTP_TIMEOUT_SECONDS, model_server
from service.domain.serving_config import ServingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A server that runs.

    Attributes:
        grpc: Where gRPC is, ``grpc://…``.
        rest: Where REST is, ``http://…``.
        backend: Its agent.
        pid: Its process; of a node the agent's, at the start.
        restart_agent: Kills the agent with SIGKILL and starts another; returns when that answers. None where the agent
            is part of the server.
    """

    grpc: str
    rest: str
    backend: Backend
    pid: int
    restart_agent: Callable[[], Awaitable[None]] | None = None

    async def server_pids(self) -> list[int]:
        """The processes that answer requests, where they can be killed without their agent."""
        processes = (await self.backend.read()).details.get("processes", ())
        return [int(process["pid"]) for process in processes]

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


@asynccontextmanager
async def tensorflow_serving(
    model: str, models_dir: Path, folder: Path, *, flags: Sequence[str] = ()
) -> AsyncIterator[Node]:
    """``regulus node``: server processes behind Envoy, on free ports.

    They are ``tensorflow_model_server`` where there is one (``REGULUS_TFS_BINARY``, or on PATH), else the embedded
    server under the same flags.

    Args:
        model: Name of an exported model.
        models_dir: Folder that holds it.
        folder: For logs and state.
        flags: Further flags of the server.
    """
    ports = claim(Ports(0, 0, 0, 0))
    state_dir = folder / "node"
    async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_SECONDS, trust_env=False) as client:
        agent = _NodeAgent(
            [
                "node",
                f"--server-binary={server_binary(folder)}",
                f"--state-dir={state_dir}",
                f"--agent-port={ports.agent}",
                "--",
                f"--port={ports.grpc}",
                f"--rest_api_port={ports.rest}",
                f"--model_name={model}",
                f"--model_base_path={(models_dir / model).absolute()}",
                *flags,
            ],
            f"http://127.0.0.1:{ports.agent}/agent/v1/health",
            client,
            folder,
        )
        try:
            yield Node(
                grpc=f"grpc://127.0.0.1:{ports.grpc}",
                rest=f"http://127.0.0.1:{ports.rest}",
                backend=AgentBackend(f"http://127.0.0.1:{ports.agent}", client),
                pid=await agent.start(),
                restart_agent=agent.restart,
            )
        finally:
            await agent.stop(state_dir)


def tensorflow_serving_versions(model: str, models_dir: Path, folder: Path) -> AbstractAsyncContextManager[Node]:
    """The same with per-model batching parameters, so that sizes and timeouts change by a new version folder."""
    flags = ["--enable_batching=true", "--enable_per_model_batching_parameters=true"]
    return tensorflow_serving(model, models_dir, folder, flags=flags)


def server_binary(folder: Path) -> str:
    """The real server where there is one, else a program that runs the embedded one.

    Args:
        folder: Where that program is written.
    """
    real = os.environ.get("REGULUS_TFS_BINARY") or shutil.which("tensorflow_model_server")
    if real is not None:
        return real
    launcher = folder / "embedded_model_server"
    launcher.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m service.cli.main modelserver "$@"\n', encoding="utf-8"
    )
    launcher.chmod(0o755)
    return str(launcher)


class _NodeAgent:
    """The agent's process, and the next one.

    Args:
        arguments: Of ``regulus``.
        health: Answers once the node serves.
        client: To ask it.
        folder: For logs.
    """

    def __init__(self, arguments: Sequence[str], health: str, client: httpx.AsyncClient, folder: Path) -> None:
        self._arguments = arguments
        self._health = health
        self._client = client
        self._folder = folder
        self._child: Child | None = None
        self._starts = 0

    async def start(self) -> int:
        self._starts += 1
        log = self._folder / f"node-{self._starts}.log"
        self._child = await Child.start("node", self._arguments, log)
        await self._child.wait_ready(self._well)
        return self._child.process.pid

    async def restart(self) -> None:
        if self._child is not None:
            self._child.process.kill()
            await self._child.process.wait()
        await self.start()

    async def stop(self, state_dir: Path) -> None:
        if self._child is not None:
            await self._child.stop()
        down = await Child.start(
            "node --down", ["node", "--down", f"--state-dir={state_dir}"], self._folder / "down.log"
        )
        await down.process.wait()

    async def _well(self) -> bool:
        try:
            return (await self._client.get(self._health)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def batching_on(cpus: int) -> ServingConfig:
    """Batches of up to 32 that wait for nobody, and as many of them at once as there are processors."""
    return ServingConfig(
        enable_batching=True,
        max_batch_size=32,
        batch_timeout_micros=0,
        num_batch_threads=cpus,
        tensorflow_intra_op_parallelism=1,
    )
