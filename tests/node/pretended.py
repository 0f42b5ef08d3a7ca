"""Processes and Envoy as they are pretended, for what is made of them; and a disk that can be full."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from service.domain.serving_config import ServingConfig
from service.node.envoy_config import Endpoint
from service.node.errors import StartError, StateError
from service.node.processes import started_ticks
from service.node.state import NodeState, ServerRecord


def living(port: int, generation: int = 3) -> ServerRecord:
    """A process that does not end: this one, by another name."""
    ticks = started_ticks(os.getpid())
    assert ticks is not None
    return ServerRecord(
        pid=os.getpid(), started_ticks=ticks, generation=generation, grpc_port=port, rest_port=port + 1, log=""
    )


def dead(port: int) -> ServerRecord:
    return ServerRecord(pid=os.getpid(), started_ticks=-1, generation=3, grpc_port=port, rest_port=port + 1, log="")


class Disk:
    """A disk that is full, for the state and for Envoy's endpoints, until there is room."""

    def __init__(self, folder: Path) -> None:
        # Where the new file would be written there is something that cannot be written to.
        self._in_the_way = folder / ".state.json.new"
        self.full = False

    def fill(self) -> None:
        self._in_the_way.mkdir()
        self.full = True

    def make_room(self) -> None:
        self._in_the_way.rmdir()
        self.full = False


class Front:
    """What Envoy is told."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.ports: list[int] = []
        self.drained: list[int] = []
        self.starts = 0

    def show(self, state: NodeState) -> None:
        self._write()
        self.ports = [one.grpc_port for one in state.serving]

    async def move(self, serving: Sequence[Endpoint], _draining: Sequence[Endpoint]) -> None:
        self._write()
        self.ports = [one.grpc_port for one in serving]

    async def idle(self, draining: Sequence[Endpoint], _patience: float) -> int:
        self.drained += [one.grpc_port for one in draining]
        return 0

    async def start(self, _now: float) -> None:
        self._write()
        self.starts += 1

    async def run_on(self, restarted: Callable[[str], asyncio.Future[None]]) -> None:
        await restarted("its last words")

    def _write(self) -> None:
        if self._disk.full:
            raise StateError("no space left on device")


class Processes:
    """Starts processes that serve when the gate is open, unless they are to fail."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.failures = 0
        self.model = 0
        self.unfelt: list[bool] = []

    def start(self, _config: ServingConfig, generation: int, count: int, _path: Path | None) -> list[ServerRecord]:
        new = [living(100 + len(self.started) + index, generation) for index in range(count)]
        self.started += [one.grpc_port for one in new]
        return new

    async def ready(self, servers: list[ServerRecord], _config: ServingConfig, *, unfelt: bool = False) -> None:
        self.unfelt.append(unfelt)
        self.begun.set()
        await self.gate.wait()
        if self.failures > 0:
            self.failures -= 1
            raise StartError("it did not come up")

    def model_bytes(self, _path: Path | None) -> int:
        return self.model

    async def end(self, servers: list[ServerRecord]) -> None:
        self.started = [port for port in self.started if port not in {one.grpc_port for one in servers}]
