"""Stand: the whole system on loopback, real in all its parts, and what faults need to know of it.

Two kinds: the embedded model server alone, and a node (server processes behind Envoy with their agent). In front of
either a control service with its history on a small disk, a proxy between it and the metrics page, and a load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.faults.control import Control
from benchmarks.faults.disk import SmallDisk, small_disk
from benchmarks.faults.load import Load, load_for
from benchmarks.faults.programs import Program, regulus
from benchmarks.faults.proxy import MetricsProxy, metrics_proxy
from benchmarks.processes import export
from benchmarks.servers import server_binary
from service.backends.agent_backend import AgentBackend
from service.cli.demo.ports import Ports, claim
from service.domain.decision import Mode
from service.domain.errors import BackendError
from service.domain.serving_config import ServingConfig
from service.learning.space import queue_length
from service.node.processes import kill, marked

MODEL = "half_plus_two"

#: Usual load, requests a second.
GRPC_RATE, REST_RATE = 40.0, 20.0

#: Two configurations that orders change between. Their queue is as long as Regulus makes it itself, for what was held
#: while a killed server had no successor comes to that one all at once.
CONFIGS = tuple(
    ServingConfig(
        enable_batching=True,
        max_batch_size=size,
        batch_timeout_micros=0,
        num_batch_threads=2,
        max_enqueued_batches=queue_length(size),
    )
    for size in (8, 16)
)

EMBEDDED, NODE = "embedded", "node"

_HTTP_SECONDS = 5.0
_METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(kw_only=True)
class Stand:
    """What runs.

    Attributes:
        kind: :data:`EMBEDDED` or :data:`NODE`.
        folder: For everything.
        ports: Of the server, its agent and the control service.
        server: The embedded server, or the node's agent.
        control: The control service.
        proxy: In front of the metrics page.
        disk: Where the history is.
        load: Requests.
        client: For agent, Envoy and control service.
        backend: The agent.
    """

    kind: str
    folder: Path
    ports: Ports
    server: Program
    control: Control
    proxy: MetricsProxy
    disk: SmallDisk
    load: Load
    client: httpx.AsyncClient
    backend: AgentBackend

    @property
    def agent(self) -> str:
        """Root of the agent API."""
        return f"http://127.0.0.1:{self.ports.agent}"

    @property
    def state_dir(self) -> Path:
        """The node's folder."""
        return self.folder / "node"

    def node_state(self) -> dict[str, Any]:
        """What the node's agent wrote down last."""
        found: dict[str, Any] = json.loads((self.state_dir / "state.json").read_text(encoding="utf-8"))
        return found

    def server_pids(self) -> list[int]:
        """The processes that answer requests."""
        if self.kind == EMBEDDED:
            return [self.server.pid]
        return [int(process["pid"]) for process in self.node_state()["serving"]]

    def envoy_pid(self) -> int:
        """Envoy's process."""
        return int(json.loads((self.state_dir / "envoy.json").read_text(encoding="utf-8"))["pid"])

    async def in_force(self) -> ServingConfig | None:
        """The configuration in force, as the agent tells it; None while it does not answer."""
        try:
            return (await self.backend.read()).config
        except BackendError:
            return None

    async def another(self) -> ServingConfig:
        """A configuration that is not in force."""
        present = await self.in_force()
        return CONFIGS[1] if present == CONFIGS[0] else CONFIGS[0]

    async def agreed(self) -> bool:
        """Whether the control service believes to be in force what is, and nothing is wrong with it."""
        status, config = await self.control.status(), await self.in_force()
        return (
            status is not None
            and config is not None
            and status["config"] is not None
            and status["problem"] is None
            and ServingConfig.from_dict(status["config"]) == config
        )

    async def metrics(self) -> str:
        """The node's own metrics page; empty while there is none."""
        try:
            answer = await self.client.get(f"{self.agent}/agent/v1/metrics", timeout=_HTTP_SECONDS)
        except httpx.HTTPError:
            return ""
        return answer.text if answer.is_success else ""

    def second_control(self) -> Control:
        """Another control service of the same model, with a history of its own; not started."""
        port = claim(Ports(0, 0, 0, 0)).api
        folder = self.folder / "second"
        return _control(folder, folder / "history.db", self.ports.agent, port, self.proxy, self.client, self._mode)

    @property
    def _mode(self) -> Mode:
        return mode_on(self.kind)


def mode_on(kind: str) -> Mode:
    """On a node each switch starts processes, so there the loop only says what it would do."""
    return Mode.AUTO if kind == EMBEDDED else Mode.RECOMMEND


@asynccontextmanager
async def stand(kind: str, folder: Path, rng: np.random.Generator) -> AsyncIterator[Stand]:
    """The system in good health; all of it is gone when the block ends.

    Args:
        kind: :data:`EMBEDDED` or :data:`NODE`.
        folder: Empty.
        rng: Draws the load.

    Raises:
        ChildFailedError: A process did not come up.
    """
    models_dir = folder / "models"
    await export(MODEL, models_dir, folder)
    ports = claim(Ports(0, 0, 0, 0))
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        server, upstream = _server(kind, folder, models_dir, ports, client)
        stack.push_async_callback(_end, server, folder / "node")
        await server.start()
        proxy = await stack.enter_async_context(metrics_proxy(upstream, client))
        database = disk.folder / "history.db"
        control = _control(folder / "control", database, ports.agent, ports.api, proxy, client, mode_on(kind))
        stack.push_async_callback(control.program.stop)
        await control.program.start()
        rates = {f"grpc://127.0.0.1:{ports.grpc}": GRPC_RATE, f"http://127.0.0.1:{ports.rest}": REST_RATE}
        load = await stack.enter_async_context(load_for(MODEL, rates, rng))
        yield Stand(
            kind=kind,
            folder=folder,
            ports=ports,
            server=server,
            control=control,
            proxy=proxy,
            disk=disk,
            load=load,
            client=client,
            backend=AgentBackend(f"http://127.0.0.1:{ports.agent}", client, read_timeout_seconds=_HTTP_SECONDS),
        )


def _control(
    folder: Path, database: Path, agent: int, port: int, proxy: MetricsProxy, client: httpx.AsyncClient, mode: Mode
) -> Control:
    return Control(
        folder,
        database,
        port=port,
        model=MODEL,
        agent=f"http://127.0.0.1:{agent}",
        metrics=proxy.url,
        mode=mode,
        client=client,
    )


def _server(kind: str, folder: Path, models_dir: Path, ports: Ports, client: httpx.AsyncClient) -> tuple[Program, str]:
    """The server, not yet started, and the URL of its metrics page."""
    flags = [
        f"--port={ports.grpc}",
        f"--rest_api_port={ports.rest}",
        f"--model_name={MODEL}",
        f"--model_base_path={models_dir / MODEL}",
    ]
    if kind == EMBEDDED:
        monitoring = folder / "monitoring.config"
        monitoring.write_text(f'prometheus_config {{ enable: true, path: "{_METRICS_PATH}" }}\n', encoding="utf-8")
        command = regulus(
            "modelserver", *flags, f"--agent_port={ports.agent}", f"--monitoring_config_file={monitoring}"
        )
        health = f"http://127.0.0.1:{ports.rest}/v1/models/{MODEL}"
        page = f"http://127.0.0.1:{ports.rest}{_METRICS_PATH}"
    else:
        own = [f"--server-binary={server_binary(folder)}", f"--state-dir={folder / 'node'}"]
        command = regulus("node", *own, f"--agent-port={ports.agent}", "--", *flags)
        health = f"http://127.0.0.1:{ports.agent}/agent/v1/health"
        page = f"http://127.0.0.1:{ports.agent}/agent/v1/metrics"

    async def ready() -> bool:
        try:
            return (await client.get(health, timeout=_HTTP_SECONDS)).is_success
        except httpx.HTTPError:
            return False

    return Program(kind, command, folder, ready), page


async def _end(server: Program, state_dir: Path) -> None:
    """End the server, and what an agent that was killed has left."""
    await server.kill()
    for process in marked(state_dir):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        kill(process)
    await asyncio.sleep(0)
