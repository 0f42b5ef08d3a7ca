"""The program: ``regulus node`` from its options to its end, and ``regulus node --down``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Generator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from service.domain.clock import SystemClock
from service.node import limits, processes
from service.node.agent_api import Agent
from service.node.arguments import ServerArguments, understand
from service.node.envoy_config import Front
from service.node.errors import NodeError
from service.node.files import NodeFolder
from service.node.front import EnvoyFront, find_envoy
from service.node.node import Node, NodeSettings
from service.node.servers import Servers, find_server, server_version
from service.node.state import ProcessRecord

_log = logging.getLogger(__name__)

#: How long a server may take to end after SIGTERM, seconds. TensorFlow Serving ends at once.
_END_SECONDS = 15.0
#: How long ``--down`` waits for a living agent beyond its drain, seconds.
_DOWN_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chose.

    Attributes:
        server_arguments: As for ``tensorflow_model_server``.
        server_binary: That program; None finds it on PATH.
        envoy: Envoy; None finds it.
        state_dir: Where everything is kept that outlives the agent.
        host: Address that clients reach.
        agent_host: Address of the agent API.
        agent_port: Its port.
        admin_port: Of Envoy's admin interface, on loopback; 0 takes a free one.
        workers: Envoy's threads; None for half the processors.
        instances: Server processes at the start.
        model: With a model_config_file, the model that is watched.
        slo_seconds: The objective's bound, for finer histogram buckets round it; None for none.
        hold_seconds: How long requests wait while no server is up.
        warm_up_file: REST Predict body to warm new servers with; None for zeros.
        settings: How patient the node is.
    """

    server_arguments: Sequence[str]
    server_binary: str | None = None
    envoy: str | None = None
    state_dir: Path = Path("regulus-node")
    host: str = "127.0.0.1"
    agent_host: str = "127.0.0.1"
    agent_port: int = 8600
    admin_port: int = 0
    workers: int | None = None
    instances: int = 1
    model: str | None = None
    slo_seconds: float | None = None
    hold_seconds: float = 30.0
    warm_up_file: Path | None = None
    settings: NodeSettings = field(default_factory=NodeSettings)


async def serve(options: Options) -> None:
    """Run a node until SIGTERM or SIGINT; then drain and end everything.

    Raises:
        NodeError: It could not be started, and why.
    """
    cpus = limits.node_cpus()
    arguments = understand(
        options.server_arguments,
        cpus=cpus,
        instances=options.instances,
        model=options.model,
        read=lambda path: Path(path).read_text(encoding="utf-8"),
    )
    binary, envoy = find_server(options.server_binary), find_envoy(options.envoy)
    kind = server_version(binary)
    folder = NodeFolder(options.state_dir)
    connections = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=2.0)
    async with AsyncExitStack() as held:
        folder.take()
        held.callback(folder.leave)
        listener = _bound(options.agent_host, options.agent_port)
        held.callback(listener.close)
        client = await held.enter_async_context(httpx.AsyncClient(trust_env=False, limits=connections))
        stop = _stop_signal()
        node = _node(options, arguments, folder, client, binary=binary, envoy=envoy, cpus=cpus)
        await _unless_stopped(node.start(), stop)
        held.push_async_callback(node.stop, options.settings.drain_seconds)
        agent = Agent(
            node,
            model=arguments.model,
            server=kind,
            cpus=cpus,
            memory_bytes=limits.memory_limit(limits.read_cgroup),
        )
        await _answer(options, arguments, node, agent, listener, stop)


async def down(state_dir: Path) -> int:
    """End whatever runs in a node's folder; returns how many processes that were.

    A living agent is told, and drains; what an agent left that was killed is ended.
    """
    folder = NodeFolder(state_dir)
    holder = folder.holder()
    found = len(processes.marked(folder.path)) + (holder is not None)
    if holder is not None:
        agent = ProcessRecord(pid=holder, started_ticks=processes.started_ticks(holder) or 0)
        await processes.end(agent, _DOWN_SECONDS)
    left = processes.marked(folder.path)
    await asyncio.gather(*(processes.end(one, _END_SECONDS) for one in left))
    if folder.path.is_dir():
        folder.forget_state()
    return found


def _node(
    options: Options,
    arguments: ServerArguments,
    folder: NodeFolder,
    client: httpx.AsyncClient,
    *,
    binary: str,
    envoy: str,
    cpus: float,
) -> Node:
    front = Front(
        host=options.host,
        grpc_port=arguments.grpc_port,
        rest_port=arguments.rest_port,
        admin_port=options.admin_port,
        model=arguments.model,
        slo_bound_seconds=options.slo_seconds,
        hold_seconds=options.hold_seconds,
    )
    servers = Servers(
        binary,
        arguments,
        folder,
        client,
        cpus=cpus,
        schedulable=len(os.sched_getaffinity(0)),
        warm_up_body=options.warm_up_file.read_bytes() if options.warm_up_file is not None else None,
        end_seconds=_END_SECONDS,
    )
    workers = options.workers or max(1, round(cpus / 2))
    return Node(
        folder,
        EnvoyFront(envoy, front, folder, client, workers=workers),
        servers,
        arguments,
        options.settings,
        SystemClock(),
        cpus=cpus,
        digest=_digest(binary, arguments),
    )


async def _answer(
    options: Options,
    arguments: ServerArguments,
    node: Node,
    agent: Agent,
    listener: socket.socket,
    stop: asyncio.Event,
) -> None:
    """The agent API, until it is time to stop."""
    if stop.is_set():
        return
    server = _Server(
        uvicorn.Config(
            agent.app(),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    rest = f", REST {options.host}:{arguments.rest_port}" if arguments.rest_port else ""
    print(
        f"Serving {arguments.model} on gRPC {options.host}:{arguments.grpc_port}{rest}, "
        f"agent {options.agent_host}:{options.agent_port}; {node.config.describe()}",
        flush=True,
    )
    await stop.wait()
    server.should_exit = True
    await serving


class _Server(uvicorn.Server):
    """Leaves signals to the program, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


def _bound(host: str, port: int) -> socket.socket:
    """The agent's port, taken before anything is started.

    Raises:
        NodeError: It is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise NodeError(f"the agent cannot listen on {host}:{port}: {error.strerror}. Choose --agent-port.") from error
    return listener


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Do ``work``, but cancel it when ``stop`` is set before it is done."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return
    await working


def _digest(binary: str, arguments: ServerArguments) -> str:
    """Of what processes are started with beside the configuration; the initial configuration is no part of it."""
    raw = asdict(arguments)
    for name in ("initial", "grpc_port", "rest_port"):
        del raw[name]
    return hashlib.sha256(json.dumps([binary, raw], default=str, sort_keys=True).encode()).hexdigest()


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the agent alone, and the next one adopts what runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        _log.info("stopping: requests in hand are finished first")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop
