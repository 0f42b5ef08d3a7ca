"""Servers: processes of the model server, from their command line to their end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.domain.serving_config import ServingConfig
from service.node import batching_file
from service.node.arguments import ServerArguments, command
from service.node.envoy_config import Endpoint
from service.node.errors import ArgumentError, NodeError, StartError
from service.node.files import NodeFolder
from service.node.limits import size_on_disk
from service.node.ports import free_ports
from service.node.priority import Priority
from service.node.processes import alive, end, kill, spawn, tail
from service.node.state import ServerRecord
from service.node.versions import newest
from service.node.warmup import warm_up

METRICS_PATH = "/monitoring/prometheus/metrics"
_MONITORING = f'prometheus_config {{ enable: true, path: "{METRICS_PATH}" }}\n'

#: How often a starting server is asked, seconds.
POLL_SECONDS = 0.1
_STATUS_SECONDS = 2.0
_VERSION_SECONDS = 30.0

#: One round touches every part once; the second finds it warm, and more change little.
_WARM_ROUNDS = 3

#: Logs of processes that have ended are kept for this many generations.
_KEPT_LOGS = 20


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of the model, as a server tells it."""

    number: int
    state: str
    error: str


class Servers:
    """Starts, asks and ends server processes. Holds no state: who serves is for the caller to know.

    Args:
        binary: ``tensorflow_model_server``, or a program with its flags.
        arguments: The user's.
        folder: The node's.
        client: For their REST APIs.
        cpus: Processors of the node.
        schedulable: Processors that the kernel may run them on.
        warm_up_body: The user's warm-up request; None for zeros.
        end_seconds: How long a server may take to end after SIGTERM.
        priority: Lets them yield to others.
        yield_seconds: For so long at most, while they get ready; 0 for not at all.
    """

    def __init__(
        self,
        binary: str,
        arguments: ServerArguments,
        folder: NodeFolder,
        client: httpx.AsyncClient,
        *,
        cpus: float,
        schedulable: int,
        warm_up_body: bytes | None,
        end_seconds: float,
        priority: Priority,
        yield_seconds: float,
    ) -> None:
        self._binary = binary
        self._arguments = arguments
        self._folder = folder
        self._client = client
        self._cpus = cpus
        self._schedulable = schedulable
        self._warm_up_body = warm_up_body
        self._end_seconds = end_seconds
        self._priority = priority
        self._yield_seconds = yield_seconds

    def start(self, config: ServingConfig, generation: int, count: int, base_path: Path | None) -> list[ServerRecord]:
        """Start processes; they are not ready yet.

        Args:
            config: What they are to run.
            generation: For which they are started.
            count: How many.
            base_path: Folder of versions that the node made; None for the user's own.

        Raises:
            StartError: One could not be started; none is left.
        """
        monitoring = self._folder.write_text("monitoring.config", _MONITORING)
        extras = self._arguments.extras
        text = batching_file.render_pool(config, extras) if self._arguments.per_model_batching else ""
        if config.enable_batching and not text:
            text = batching_file.render(config, extras)
        batching = self._folder.write_text(f"batching/g{generation}.pbtxt", text)
        self._tidy()
        ports = free_ports(2 * count)
        started: list[ServerRecord] = []
        for index in range(count):
            endpoint = Endpoint(ports[2 * index], ports[2 * index + 1])
            line = command(
                self._arguments,
                config,
                endpoint,
                batching=batching,
                monitoring=monitoring,
                base_path=base_path or self._arguments.model_base_path,
                cpus=self._cpus,
                schedulable=self._schedulable,
            )
            log = self._folder.logs / f"server-g{generation}-{endpoint.grpc_port}.log"
            try:
                process = spawn([self._binary, *line], self._folder.path, log)
            except StartError:
                for server in started:
                    kill(server)
                raise
            started.append(
                ServerRecord(
                    pid=process.pid,
                    started_ticks=process.started_ticks,
                    generation=generation,
                    grpc_port=endpoint.grpc_port,
                    rest_port=endpoint.rest_port,
                    log=str(log),
                )
            )
        return started

    async def ready(self, servers: Sequence[ServerRecord], config: ServingConfig, *, unfelt: bool = False) -> None:
        """Wait until all serve a version of the model, and send the first requests, before any client's.

        Give it a time-out.

        Args:
            servers: Just started.
            config: What they run.
            unfelt: Others serve meanwhile, so these get ready on what those leave of the processors, for some seconds.

        Raises:
            StartError: One has ended, or cannot load the model; carries its last log lines.
        """
        yielding = self._priority.unfelt(servers, self._yield_seconds)
        async with yielding if unfelt and self._yield_seconds > 0 else contextlib.nullcontext():
            await asyncio.gather(*(self._available(server) for server in servers))
            await self._warm(servers, config)

    async def reloaded(self, servers: Sequence[ServerRecord], version: int) -> None:
        """Wait until all serve that version and no other. Give it a time-out.

        Raises:
            StartError: One could not load it, or has ended.
        """
        await asyncio.gather(*(self._reloaded(server, version) for server in servers))

    async def versions(self, server: ServerRecord) -> list[VersionState]:
        """What a server says of the model's versions; empty while it does not answer."""
        url = f"{_root(server)}/v1/models/{self._arguments.model}"
        try:
            answer = await self._client.get(url, timeout=_STATUS_SECONDS)
            if answer.status_code != httpx.codes.OK:
                return []
            return [_version(raw) for raw in answer.json()["model_version_status"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return []

    async def metrics(self, server: ServerRecord, timeout_seconds: float) -> str | None:
        """A server's own metrics page; None where it gives none in time."""
        try:
            answer = await self._client.get(_root(server) + METRICS_PATH, timeout=timeout_seconds)
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == httpx.codes.OK else None

    async def end(self, servers: Sequence[ServerRecord]) -> None:
        """End processes. Idempotent."""
        await asyncio.gather(*(end(server, self._end_seconds) for server in servers))

    def model_bytes(self, base_path: Path | None) -> int:
        """Size of the newest version on disk; 0 where it is not known."""
        folder = base_path or self._arguments.model_base_path
        number = newest(folder) if folder is not None else None
        return size_on_disk(folder / str(number)) if folder is not None and number is not None else 0

    async def _available(self, server: ServerRecord) -> None:
        while True:
            if not alive(server):
                raise StartError("the new server ended before it could serve", tail(Path(server.log)))
            states = await self.versions(server)
            if any(version.state == "AVAILABLE" for version in states):
                return
            self._refuse_failed(server, states)
            await asyncio.sleep(POLL_SECONDS)

    async def _warm(self, servers: Sequence[ServerRecord], config: ServingConfig) -> None:
        at_once = min(config.num_batch_threads if config.enable_batching else math.ceil(self._cpus), 16)
        for server in servers:  # one after the other: the old generation is at work on the same processors
            await warm_up(
                self._client,
                _root(server),
                self._arguments.model,
                body=self._warm_up_body,
                rounds=_WARM_ROUNDS,
                at_once=at_once,
            )

    async def _reloaded(self, server: ServerRecord, wanted: int) -> None:
        while True:
            if not alive(server):
                raise StartError("a server ended while it loaded the new version", tail(Path(server.log)))
            states = {version.number: version for version in await self.versions(server)}
            serving = {number for number, version in states.items() if version.state != "END"}
            if serving == {wanted} and states[wanted].state == "AVAILABLE":
                return
            self._refuse_failed(server, [states[wanted]] if wanted in states else [])
            await asyncio.sleep(POLL_SECONDS)

    def _refuse_failed(self, server: ServerRecord, states: Sequence[VersionState]) -> None:
        if states and all(version.state == "END" and version.error for version in states):
            message = f"version {states[-1].number} was not loaded: {states[-1].error}"
            raise StartError(message, tail(Path(server.log)))

    def _tidy(self) -> None:
        logs = sorted(self._folder.logs.glob("server-g*.log"), key=lambda path: path.stat().st_mtime)
        for log in logs[:-_KEPT_LOGS]:
            with contextlib.suppress(OSError):
                log.unlink()


def find_server(given: str | None) -> str:
    """The server binary: the one that is given, or ``tensorflow_model_server`` on PATH.

    Raises:
        ArgumentError: There is none; says what to do.
    """
    found = shutil.which(given or "tensorflow_model_server")
    if found is None:
        raise ArgumentError(
            f"no such server: {given}. Give --server-binary the path of an executable."
            if given
            else "tensorflow_model_server is not on PATH: name it with --server-binary or REGULUS_TFS_BINARY"
        )
    return found


def server_version(binary: str) -> tuple[str, str]:
    """Kind and version of a server, from the first line of its ``--version``.

    Raises:
        NodeError: It cannot be asked.
    """
    try:
        said = subprocess.run(  # noqa: S603 — the user's own server binary
            [binary, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{binary} --version gave no answer: {error}") from error
    name, _, version = (said.strip().splitlines() or [""])[0].partition(": ")
    kind = "tensorflow_model_server" if name == "TensorFlow ModelServer" else name.lower().replace(" ", "-")
    return kind or "unknown", version.strip() or "unknown"


def _root(server: ServerRecord) -> str:
    return f"http://127.0.0.1:{server.rest_port}"


def _version(raw: Mapping[str, Any]) -> VersionState:
    status = raw.get("status", {})
    return VersionState(int(raw["version"]), str(raw["state"]), str(status.get("error_message", "")))
