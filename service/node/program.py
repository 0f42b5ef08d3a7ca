"""The program: ``regulus node`` from its options to its end, and ``regulus node --down``."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from service.access.guard import Guard
from service.agent.api import Agent
from service.agent.door import Door
from service.agent.lease import LeaseBook
from service.agent.lifetime import stop_signal, unless_stopped
from service.agent.listener import HttpListener
from service.agent.machine import node_cpus, node_memory_limit
from service.domain.clock import Clock, SystemClock
from service.node import processes
from service.node.arguments import ServerArguments, understand
from service.node.envoy_config import Front
from service.node.files import NodeFolder
from service.node.front import EnvoyFront, find_envoy
from service.node.node import Node, NodeSettings
from service.node.ports import refusing
from service.node.priority import Priority, may_return
from service.node.servers import Servers, find_server, server_version
from service.node.state import ProcessRecord
from service.node.steered import SteeredNode

#: How long a server may take to end after SIGTERM, seconds. TensorFlow Serving ends at once.
_END_SECONDS = 15.0
#: How long ``--down`` waits for a living agent beyond its drain, seconds.
_DOWN_SECONDS = 90.0
#: How long the agent may go on with what it is asked when it is told to end, seconds.
_ANSWER_SECONDS = 1.0


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
        agent_guard: What keeps strangers out of it.
        admin_port: Of Envoy's admin interface, on loopback; 0 takes a free one.
        workers: Envoy's threads; None for half the processors.
        instances: Server processes at the start.
        model: With a model_config_file, the model that is watched.
        slo_seconds: The objective's bound, for finer histogram buckets round it; None for none.
        hold_seconds: How long requests wait while no server is up.
        yield_seconds: How long a new server process gets ready on what the serving ones leave of the processors.
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
    agent_guard: Guard = field(default_factory=Guard)
    admin_port: int = 0
    workers: int | None = None
    instances: int = 1
    model: str | None = None
    slo_seconds: float | None = None
    hold_seconds: float = 30.0
    yield_seconds: float = 10.0
    warm_up_file: Path | None = None
    settings: NodeSettings = field(default_factory=NodeSettings)


async def serve(options: Options) -> None:
    """Run a node until SIGTERM or SIGINT; then drain and end everything.

    Raises:
        NodeError, ListenError: It could not be started, and why.
        InvalidValueError: The agent would be open to strangers, or a file of its guard cannot be used.
    """
    guard = options.agent_guard
    guard.check(options.agent_host, "--agent-host")
    tokens, tls = guard.tokens("--agent-token-file"), guard.tls()
    cpus, clock = node_cpus(), SystemClock()
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
        # Bound before anything is started: a taken port is found at once.
        listener = HttpListener(options.agent_host, options.agent_port, "The agent")
        held.push_async_callback(listener.stop)
        client = await held.enter_async_context(httpx.AsyncClient(trust_env=False, limits=connections))
        refusing_port = held.enter_context(refusing())
        stop = stop_signal()
        front = EnvoyFront(
            envoy,
            _front(options, arguments),
            folder,
            client,
            workers=options.workers or max(1, round(cpus / 2)),
            refusing_port=refusing_port,
        )
        node = _node(options, arguments, folder, front, client, clock, binary=binary, cpus=cpus)
        await unless_stopped(node.start(), stop)
        held.push_async_callback(node.stop, options.settings.drain_seconds)
        if stop.is_set():
            return
        steered = SteeredNode(node, arguments.model)
        agent = Agent(
            steered,
            LeaseBook(clock),
            server=kind,
            cpus=cpus,
            memory_bytes=node_memory_limit(),
            canaries=steered,
        )
        await listener.start(Door(agent.app(), tokens, clock, local=guard.local), _ANSWER_SECONDS, tls)
        rest = f", REST {options.host}:{arguments.rest_port}" if arguments.rest_port else ""
        print(
            f"Serving {arguments.model} on gRPC {options.host}:{arguments.grpc_port}{rest}, "
            f"agent {listener.address}; {node.config.describe()}",
            flush=True,
        )
        await stop.wait()
        await listener.stop()


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


def _front(options: Options, arguments: ServerArguments) -> Front:
    return Front(
        host=options.host,
        grpc_port=arguments.grpc_port,
        rest_port=arguments.rest_port,
        admin_port=options.admin_port,
        model=arguments.model,
        slo_bound_seconds=options.slo_seconds,
        hold_seconds=options.hold_seconds,
    )


def _node(
    options: Options,
    arguments: ServerArguments,
    folder: NodeFolder,
    front: EnvoyFront,
    client: httpx.AsyncClient,
    clock: Clock,
    *,
    binary: str,
    cpus: float,
) -> Node:
    servers = Servers(
        binary,
        arguments,
        folder,
        client,
        cpus=cpus,
        schedulable=len(os.sched_getaffinity(0)),
        warm_up_body=options.warm_up_file.read_bytes() if options.warm_up_file is not None else None,
        end_seconds=_END_SECONDS,
        priority=Priority(idle_policy=may_return()),
        yield_seconds=options.yield_seconds,
    )
    return Node(
        folder,
        front,
        servers,
        arguments,
        options.settings,
        clock,
        cpus=cpus,
        digest=_digest(binary, arguments),
    )


def _digest(binary: str, arguments: ServerArguments) -> str:
    """Of what processes are started with beside the configuration; the initial configuration is no part of it."""
    raw = asdict(arguments)
    for name in ("initial", "grpc_port", "rest_port"):
        del raw[name]
    return hashlib.sha256(json.dumps([binary, raw], default=str, sort_keys=True).encode()).hexdigest()
