"""Changes: how a configuration comes into force. Two ways, and in both the old one serves until the new one does.

*Restart*, for every knob: new processes beside the old ones → AVAILABLE → warm → Envoy's endpoints → the old ones
finish what they have → their end. *Version*, for sizes and timeouts alone, where the servers read them from version
folders: a new folder → every server has loaded it and let go of the old one. What differs in ``instances`` alone starts
or ends only as many processes as there are too few or too many.

A configuration may be tried out before, by one process: its *canary*, which becomes one of the new ones when the
configuration comes into force, or ends when it is withdrawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.agent.machine import node_free_memory, node_total_memory
from service.domain.serving_config import ServingConfig
from service.node import batching_file
from service.node.arguments import ServerArguments, thread_counts
from service.node.envoy_config import Role
from service.node.errors import FrontError, StartError, StateError
from service.node.files import Ledger, NodeFolder
from service.node.front import EnvoyFront
from service.node.limits import check_head_room, check_whole_memory, process_memory
from service.node.processes import alive, kill, tail
from service.node.servers import Servers
from service.node.state import Canary, NodeState, ServerRecord, Versions
from service.node.taken_back import TakenBack
from service.node.versions import is_cheap, newest, publish, tidy

_log = logging.getLogger(__name__)

#: Names of the two ways, as metrics and answers tell them.
RESTART, VERSION = "restart", "version"

#: How often what Envoy is to know is written where there was no room for it, seconds.
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What changes are made with.

    Attributes:
        ledger: What is, and is remembered.
        front: Envoy.
        servers: The server processes.
        arguments: The user's.
        folder: The node's.
        cpus: Processors of the node.
        drain_seconds: Longest wait for requests that an old process still has.
        watch: Told of each process that begins to serve.
        retire: Told of each process before its end, for its last counts.
    """

    ledger: Ledger
    front: EnvoyFront
    servers: Servers
    arguments: ServerArguments
    folder: NodeFolder
    cpus: float
    drain_seconds: float
    watch: Callable[[ServerRecord], None]
    retire: Callable[[ServerRecord], Coroutine[Any, Any, None]]


class Changes:
    """Makes one change at a time; whoever calls sees to that."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._drains: set[asyncio.Task[None]] = set()
        self._told = True  # whether Envoy could be told who serves

    def way(self, config: ServingConfig, generation: int) -> str:
        """Which way a change to ``config`` under the number ``generation`` takes."""
        state, arguments = self._ledger.state, self._parts.arguments
        if self._canary_of(config, generation) is not None:
            return RESTART  # one of its processes runs already
        threads = tuple(thread_counts(one, arguments, self._parts.cpus)[0] for one in (state.launched, config))
        cheap = arguments.per_model_batching and is_cheap(state.launched, config, (threads[0], threads[1]))
        return VERSION if cheap and state.serving else RESTART

    async def make(
        self,
        config: ServingConfig,
        generation: int,
        way: str,
        *,
        previous: ServingConfig | None,
        taken_back: TakenBack | None = None,
    ) -> None:
        """Bring a configuration into force; returns when requests are served by it, and the old one may still drain.

        Cancelled before that, or with an error, it leaves the old one serving and nothing of the new one but a canary
        that there was before.

        Args:
            config: The configuration.
            generation: Its number.
            way: From :meth:`way`; :data:`RESTART` is always possible.
            previous: What a crash loop returns to.
            taken_back: What is taken back by this change; None where it is somebody's order.

        Raises:
            InfeasibleConfigError: The model alone is more than all memory of the node.
            HeadRoomError: There is no memory for both at once, as things are now.
            StartError: The new processes did not come up; carries their last log lines.
            FrontError: Envoy did not take them.
            StateError: It cannot be written down.
        """
        if way == VERSION:
            await self._by_version(config, generation, taken_back)
        else:
            await self._by_restart(config, generation, previous, taken_back)

    async def try_out(self, config: ServingConfig, generation: int) -> ServerRecord:
        """Have one process try a configuration out; returns it when it has its share of the requests.

        Cancelled before that, or with an error, it leaves nothing of it.

        Raises:
            InfeasibleConfigError: The model alone is more than all memory of the node.
            HeadRoomError: There is no memory for one process more, as things are now.
            StartError: It did not come up; carries its last log lines.
            FrontError: Envoy did not take it.
            StateError: It cannot be written down.
        """
        self._check_memory(config, 1)
        versions = self._new_versions(config, generation)
        [server] = new = self._start(config, generation, 1, versions)
        canary = Canary(generation=generation, config=config, server=server, versions=versions)
        reached = False
        try:
            await self._parts.servers.ready(new, config, unfelt=True)
            serving = [one.endpoint for one in self._ledger.state.serving]
            reached = True
            await self._parts.front.move([*serving, server.endpoint.in_role(Role.CANARY)], ())
            self._ledger.write(self._ledger.state.try_out(canary))
        except BaseException:
            await self._abandon(new, versions, reached=reached)
            raise
        self._parts.watch(server)
        await _to_the_end(self._move())
        return server

    async def withdraw(self) -> None:
        """What is tried out will not come into force; returns when it gets nothing new."""
        state = self._ledger.state
        canary = state.canary
        if canary is None:
            return
        self._ledger.note(state.withdraw())
        await _to_the_end(self._move())
        self._begin_drain([canary.server], canary.versions.base_path)

    async def forget_canary(self) -> None:
        """The process that tried something out has ended by itself."""
        state = self._ledger.state
        if state.canary is None:
            return
        self._ledger.note(state.lost(state.canary.server))
        await _to_the_end(self._move())
        if state.canary.versions.base_path is not None:
            shutil.rmtree(state.canary.versions.base_path, ignore_errors=True)

    async def drained(self) -> None:
        """Wait until what earlier changes left to drain has ended."""
        await asyncio.shield(asyncio.gather(*self._drains))

    def resume_drain(self) -> None:
        """Go on with what an earlier agent left to drain."""
        self._begin_drain(self._ledger.state.draining, None)

    async def first(self, wanted: NodeState) -> None:
        """Start the processes of a node that has none, Envoy not yet there or holding requests.

        Args:
            wanted: What is to hold once they serve, and not before.

        Raises:
            StartError: They did not come up; none is left.
            StateError: They cannot be written down; none is left.
        """
        config, generation = wanted.config, wanted.generation
        versions = self._new_versions(config, generation)
        new = self._start(config, generation, config.instances, versions)
        begun = self._ledger.state
        try:
            await self._parts.servers.ready(new, config)
            committed = wanted.commit(
                generation, config, launched=config, added=new, removed=(), previous=wanted.previous
            )
            self._ledger.write(committed.watching(versions))
            self._parts.front.show(self._ledger.state)
        except BaseException:
            self._ledger.note(begun)
            await self._abandon(new, versions)
            raise
        for server in new:
            self._parts.watch(server)

    async def follow(self) -> None:
        """Bring a newer version of the user's to the servers, where they watch a folder of the node's.

        Raises:
            StartError: It could not be loaded; the older one serves on.
        """
        state, source = self._ledger.state, self._parts.arguments.model_base_path
        if state.base_path is None or source is None:
            return
        number = newest(source)
        if number is not None and number > (state.source_version or 0):
            await self._by_version(state.config, state.generation)

    async def _by_restart(
        self, config: ServingConfig, generation: int, previous: ServingConfig | None, taken_back: TakenBack | None
    ) -> None:
        state = self._ledger.state
        canary = self._canary_of(config, generation)
        scaled = set(state.config.differences(config)) == {"instances"} and bool(state.serving)
        kept = state.serving[: config.instances] if scaled else ()
        launched = state.launched.with_values(instances=config.instances) if scaled else config
        tried = [] if canary is None else [canary.server]
        missing = config.instances - len(kept) - len(tried)
        self._check_memory(config, missing)
        old_path = None if scaled else state.base_path
        if canary is not None:
            versions = canary.versions
        else:
            versions = self._present_versions() if scaled else self._new_versions(config, generation)
        new = self._start(launched, generation, missing, versions)
        reached = False
        try:
            await self._parts.servers.ready(new, config, unfelt=bool(state.serving))
            traffic, reached = self._ledger.state.traffic, True
            await self._parts.front.move([*traffic.serving, *(one.endpoint for one in new)], traffic.resting)
            if canary is not None and not alive(canary.server):
                raise StartError("the process that tried it out has ended", tail(Path(canary.server.log)))
            state = self._ledger.state
            if scaled:  # one may have died meanwhile, and another have taken its place
                kept = state.serving[: config.instances - len(new)]
            removed = [server for server in state.serving if server not in kept]
            committed = state.commit(
                generation, config, launched=launched, added=[*tried, *new], removed=removed, previous=previous
            )
            committed = replace(committed, taken_back=taken_back or state.taken_back)
            self._ledger.write(committed.watching(versions))
        except BaseException:
            await self._abandon(new, Versions() if scaled or canary is not None else versions, reached=reached)
            raise
        for server in new:
            self._parts.watch(server)
        await _to_the_end(self._move())
        self._begin_drain(self._ledger.state.draining, old_path)

    async def _by_version(self, config: ServingConfig, generation: int, taken_back: TakenBack | None = None) -> None:
        state, source = self._ledger.state, self._parts.arguments.model_base_path
        if state.base_path is None or state.version is None or source is None:
            raise StartError("the servers do not watch a folder of the node's")
        self._check_memory(config, len(state.serving), beside_process=False)
        base_path, before = Path(state.base_path), state.version
        versions = self._publish(source, base_path, config)
        wanted = versions.version or before
        try:
            await self._parts.servers.reloaded(state.serving, wanted)
            state = self._ledger.state
            committed = replace(
                state.reversioned(generation, config, wanted), taken_back=taken_back or state.taken_back
            )
            self._ledger.write(committed.watching(versions))
        except BaseException:
            # Without its folder the servers give the new version up; the old one they have never let go of.
            shutil.rmtree(base_path / str(wanted), ignore_errors=True)
            raise
        tidy(base_path, wanted)

    def _start(self, launched: ServingConfig, generation: int, count: int, versions: Versions) -> list[ServerRecord]:
        base_path = Path(versions.base_path) if versions.base_path else None
        new = self._parts.servers.start(launched, generation, count, base_path)
        try:
            self._ledger.write(self._ledger.state.begin(new))
        except StateError:
            for server in new:
                kill(server)
            raise
        return new

    async def _abandon(self, new: Sequence[ServerRecord], versions: Versions, *, reached: bool = False) -> None:
        """What was begun has not been; a second cancellation does not leave it half undone.

        Args:
            new: Processes that were to serve.
            versions: The folder that was made for them.
            reached: Whether Envoy may have sent them requests already, which they then finish.
        """
        if reached:
            self._ledger.note(self._ledger.state.retreat(new))
            self._show()
            self._begin_drain(new, versions.base_path)
            return
        self._ledger.note(self._ledger.state.abandon(new))
        await _to_the_end(self._parts.servers.end(new))
        if versions.base_path is not None:
            shutil.rmtree(versions.base_path, ignore_errors=True)

    async def _move(self) -> None:
        state = self._ledger.state
        try:
            await self._parts.front.move(state.traffic.serving, state.traffic.resting)
            self._told = True
        except StateError as error:
            _log.error("Envoy cannot be told who serves: %s", error)
            self._told = False
        except FrontError as error:
            # They are written, and Envoy reads them as soon as it is well; nothing is drained before.
            _log.error("%s", error)

    def _show(self) -> None:
        try:
            self._parts.front.show(self._ledger.state)
            self._told = True
        except StateError as error:
            _log.error("Envoy cannot be told who serves: %s", error)
            self._told = False

    def _begin_drain(self, servers: Sequence[ServerRecord], old_path: str | None) -> None:
        if servers:
            task = asyncio.create_task(self._drain(tuple(servers), old_path))
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)

    async def _drain(self, servers: Sequence[ServerRecord], old_path: str | None) -> None:
        while not self._told:  # Envoy goes on to send them requests
            await asyncio.sleep(_RETRY_SECONDS)
            self._show()
        left = await self._parts.front.idle([server.endpoint for server in servers], self._parts.drain_seconds)
        if left:
            _log.warning("%d requests were not answered within %g s and are given up", left, self._parts.drain_seconds)
        for server in servers:
            await self._parts.retire(server)
        self._ledger.note(self._ledger.state.drained(servers))
        await self._move()
        await self._parts.servers.end(servers)
        if old_path is not None:
            shutil.rmtree(old_path, ignore_errors=True)

    def _canary_of(self, config: ServingConfig, generation: int) -> Canary | None:
        """The canary, if it is this that it tries out."""
        canary = self._ledger.state.canary
        return canary if canary is not None and (canary.config, canary.generation) == (config, generation) else None

    def _present_versions(self) -> Versions:
        state = self._ledger.state
        return Versions(state.base_path, state.version, state.source_version)

    def _new_versions(self, config: ServingConfig, generation: int) -> Versions:
        """A folder of versions for new processes alone: the old ones must not load what is not for them."""
        source = self._parts.arguments.model_base_path
        if not self._parts.arguments.per_model_batching or source is None:
            return Versions()
        base_path = self._parts.folder.versions / f"g{generation}"
        shutil.rmtree(base_path, ignore_errors=True)
        return self._publish(source, base_path, config)

    def _publish(self, source: Path, base_path: Path, config: ServingConfig) -> Versions:
        number = newest(source)
        if number is None:
            raise StartError(f"{source} holds no version of the model")
        parameters = batching_file.render(config, self._parts.arguments.extras) if config.enable_batching else None
        return Versions(str(base_path), publish(source / str(number), base_path, parameters), number)

    def _check_memory(self, config: ServingConfig, more: int, *, beside_process: bool = True) -> None:
        state = self._ledger.state
        measured = max((process_memory(server.pid) for server in state.serving), default=0) if beside_process else 0
        base_path = Path(state.base_path) if state.base_path else None
        model_bytes = self._parts.servers.model_bytes(base_path)
        if more > 0:
            check_whole_memory(config.instances, model_bytes, node_total_memory())
        check_head_room(more, model_bytes, measured, node_free_memory())


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do something wholly, also when whoever waits for it is cancelled meanwhile.

    The cancellation is swallowed: what it was to prevent has been done.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()
