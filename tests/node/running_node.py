"""``regulus node`` as a real program on free ports, and clients of both protocols that count what they lose."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from models import export_model
from service.backends.agent_backend import AgentBackend
from service.loadgen.payloads import RequestSpec
from service.loadgen.prepare import prepared
from service.loadgen.target import parse_target
from service.loadgen.transport import OK
from service.node.processes import kill, marked, tail
from service.node.state import ProcessRecord
from tests.support.eventually import eventually
from tests.support.processes import free_port, http_ok, running

MODEL = "half_plus_two"

#: In place of the real server; ends at once, with last words, while there is a file ``fail`` beside it, or, if it is to
#: batch, a file ``fail-batching``.
_LAUNCHER = """\
#!/bin/sh
if [ -e "$(dirname "$0")/fail" ]; then echo "these are my last words" >&2; exit 1; fi
case "$*" in *--enable_batching*)
  if [ -e "$(dirname "$0")/fail-batching" ]; then echo "these are my last words" >&2; exit 1; fi
esac
exec {python} -m service.cli.main modelserver "$@"
"""


def server_binary(folder: Path) -> str:
    """The real server where there is one, else the embedded one under its flags."""
    real = os.environ.get("REGULUS_TFS_BINARY")
    if real is not None:
        return real
    launcher = folder / "model_server"
    launcher.write_text(_LAUNCHER.format(python=sys.executable))
    launcher.chmod(0o755)
    return str(launcher)


@dataclass
class RunningNode:
    """A node of one model that serves."""

    folder: Path
    grpc_port: int
    rest_port: int
    agent_port: int
    client: httpx.AsyncClient
    arguments: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None

    @property
    def state_dir(self) -> Path:
        return self.folder / "node"

    @property
    def log(self) -> Path:
        return self.folder / "agent.log"

    @property
    def agent(self) -> str:
        return f"http://127.0.0.1:{self.agent_port}"

    @property
    def metrics_url(self) -> str:
        return f"{self.agent}/agent/v1/metrics"

    @property
    def backend(self) -> AgentBackend:
        return AgentBackend(self.agent, self.client, apply_timeout_seconds=90)

    def processes(self) -> list[ProcessRecord]:
        """Everything that runs for this node, the agent apart."""
        return marked(self.state_dir)

    async def settled(self, count: int) -> None:
        """Wait until so many processes run, Envoy among them."""

        async def reached() -> bool:
            return len(self.processes()) == count

        await eventually(reached, what=f"{count} processes")

    async def pids(self) -> list[int]:
        """The server processes that get requests."""
        return [process["pid"] for process in (await self.backend.read()).details["processes"]]

    async def start(self) -> None:
        """Start the agent; returns when it answers."""
        self.process = await self._regulus("node", *self.arguments)

        async def well() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, f"the agent ended: {tail(self.log)}"
            with contextlib.suppress(httpx.HTTPError):
                return (await self.client.get(f"{self.agent}/agent/v1/health")).status_code == httpx.codes.OK
            return False

        await eventually(well, what=f"the node ({self.log})")

    async def fails_to_start(self) -> bool:
        """Start the agent where it cannot serve; returns at its end whether it said so."""
        process = await self._regulus("node", *self.arguments)
        return await asyncio.wait_for(process.wait(), 60) != 0

    async def signal(self, number: signal.Signals) -> None:
        """Signal the agent and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), 60)

    async def kill(self, pid: int) -> None:
        """Kill one of its processes; returns when its last thread is gone, and with it all that was open."""
        descriptor, gone = os.pidfd_open(pid), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, gone.set)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def down(self) -> None:
        """``regulus node --down``."""
        process = await self._regulus("node", "--down", f"--state-dir={self.state_dir}")
        assert await asyncio.wait_for(process.wait(), 60) == 0, tail(self.log)

    async def put(self, order: dict[str, Any]) -> httpx.Response:
        """A raw order."""
        return await self.client.put(f"{self.agent}/agent/v1/config", json=order, timeout=100)

    async def _regulus(self, *arguments: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "service.cli.main", *arguments, stdout=output, stderr=output
            )


@contextlib.asynccontextmanager
async def running_node(folder: Path, *flags: str, options: tuple[str, ...] = ()) -> AsyncIterator[RunningNode]:
    """A node until the block ends; whatever is then left of it is killed.

    Args:
        folder: For model, logs and state.
        flags: Further flags of the server.
        options: Further options of the agent.
    """
    ports = free_port(), free_port(), free_port()
    arguments = _arguments(folder, ports, flags, options)
    async with httpx.AsyncClient(trust_env=False) as client:
        node = RunningNode(folder, *ports, client, arguments)
        try:
            await node.start()
            yield node
        finally:
            if node.process is not None and node.process.returncode is None:
                node.process.kill()
                await node.process.wait()
            for process in node.processes():
                kill(process)


@contextlib.contextmanager
def node_program(folder: Path, *flags: str) -> Iterator[str]:
    """A node until the block ends, for tests that are no coroutines; yields the root of its agent API."""
    ports = free_port(), free_port(), free_port()
    agent = f"http://127.0.0.1:{ports[2]}"
    arguments = ["node", *_arguments(folder, ports, flags, ())]
    try:
        with running(arguments, ready=lambda: http_ok(f"{agent}/agent/v1/health"), log=folder / "agent.log"):
            yield agent
    finally:
        for process in marked(folder / "node"):
            kill(process)


def _arguments(
    folder: Path, ports: tuple[int, int, int], flags: tuple[str, ...], options: tuple[str, ...]
) -> tuple[str, ...]:
    base_path = folder / "models" / MODEL
    if not base_path.exists():
        export_model(MODEL, base_path.parent)
    own = [f"--server-binary={server_binary(folder)}", f"--state-dir={folder / 'node'}", f"--agent-port={ports[2]}"]
    server = [f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    if any(flag.startswith("--model_config_file=") for flag in flags):
        own.append(f"--model={MODEL}")
    else:
        server += [f"--model_name={MODEL}", f"--model_base_path={base_path}"]
    return (*own, *options, "--", *server, *flags)


@dataclass(frozen=True)
class Asked:
    """A request that has its answer.

    Attributes:
        target: Whom.
        sent: When, ``time.monotonic()`` seconds.
        ended: When the answer came.
        error: What was said in place of a good one.
    """

    target: str
    sent: float
    ended: float
    error: str | None


@dataclass
class Load:
    """Requests over gRPC and REST, some always in hand, for as long as the block lasts.

    Attributes:
        asked: Requests that have an answer of either kind.
        lost: Those without a good one.
        in_hand: Requests that have no answer yet.
    """

    asked: list[Asked] = field(default_factory=list)
    lost: list[Asked] = field(default_factory=list)
    in_hand: int = 0

    @property
    def ended(self) -> int:
        """How many have an answer of either kind."""
        return len(self.asked)

    async def more(self, count: int = 50) -> None:
        """Wait for so many further answers."""
        goal = self.ended + count

        async def reached() -> bool:
            return self.ended >= goal

        await eventually(reached, what=f"{count} further answers")


@contextlib.asynccontextmanager
async def load(node: RunningNode, each: int = 4) -> AsyncIterator[Load]:
    """``each`` clients of each protocol that ask without pause."""
    seen = Load()
    stopping = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for target in (f"grpc://127.0.0.1:{node.grpc_port}", f"http://127.0.0.1:{node.rest_port}"):
            transport, pool = await stack.enter_async_context(
                prepared(
                    parse_target(target),
                    RequestSpec(model=MODEL),
                    np.random.default_rng(0),
                    timeout=60,
                    connections=2,
                    max_inflight=64,
                )
            )

            async def ask(transport: Any = transport, pool: list[bytes] = pool, target: str = target) -> None:
                while not stopping.is_set():
                    answer: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
                    seen.in_hand += 1
                    sent = time.monotonic()
                    transport.send(pool[0], lambda code, message, done=answer: done.set_result((code, message)))
                    code, message = await answer
                    seen.in_hand -= 1
                    one = Asked(target, sent, time.monotonic(), None if code == OK else f"{code} {message}")
                    seen.asked.append(one)
                    if one.error is not None:
                        seen.lost.append(one)
                    await asyncio.sleep(0.01)  # a load, not a siege: the machine also starts servers

            tasks += [asyncio.create_task(ask()) for _ in range(each)]
        try:
            yield seen
        finally:
            stopping.set()
            await asyncio.gather(*tasks)
