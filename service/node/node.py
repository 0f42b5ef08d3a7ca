"""Node: everything put together: adopts or starts, changes one thing at a time, counts, and comes down in order."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

from prometheus_client import generate_latest

from service.domain.clock import Clock
from service.domain.errors import StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.node import batching_file, limits, processes
from service.node.arguments import ServerArguments
from service.node.changes import RESTART, Changes, Parts
from service.node.counters import NodeCounters
from service.node.crashes import CrashRules
from service.node.errors import NodeError, StartError
from service.node.files import Ledger, NodeFolder
from service.node.first_answer import first_answer
from service.node.front import EnvoyFront
from service.node.guard import Guard
from service.node.metrics_page import ServerTotals, page
from service.node.servers import Servers
from service.node.state import NodeState, ServerRecord, recovered
from service.node.taken_back import TakenBack
from service.node.trial import Trial, Trials

_log = logging.getLogger(__name__)

#: How often the user's folder is searched for a newer version, seconds: as often as TensorFlow Serving does.
FOLLOW_SECONDS = 1.0
_SCRAPE_SECONDS = 1.0
_ORPHAN_SECONDS = 10.0
#: For the versions that are served, in every answer about the node: well below what controllers wait for an agent.
_VERSIONS_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How patient a node is. Times in seconds.

    Attributes:
        start_seconds: From the start of processes nobody waits for (the first, replacements) until they serve.
        drain_seconds: For requests that an old process still has.
        canary_seconds: For whoever has a configuration tried out, to decide on it.
        rules: What is done about crashes.
    """

    start_seconds: float = 300.0
    drain_seconds: float = 60.0
    canary_seconds: float = 360.0
    rules: CrashRules = field(default_factory=CrashRules)


class Node:
    """The node. All methods are called in one event loop.

    Args:
        folder: Taken by this agent.
        front: Envoy.
        servers: The server processes.
        arguments: The user's.
        settings: How patient it is.
        clock: Time.
        cpus: Processors of the node.
        digest: Of all with which processes are started beside the configuration; another one restarts them.
    """

    def __init__(
        self,
        folder: NodeFolder,
        front: EnvoyFront,
        servers: Servers,
        arguments: ServerArguments,
        settings: NodeSettings,
        clock: Clock,
        *,
        cpus: float,
        digest: str,
    ) -> None:
        self._fresh = NodeState(
            generation=0,
            config=arguments.initial,
            launched=arguments.initial,
            settings=digest,
            initial=arguments.initial,
        )
        self._recovery = recovered(folder.read_state() or self._fresh, self._fresh, processes.alive)
        self._folder = folder
        self._front = front
        self._servers = servers
        self._arguments = arguments
        self._settings = settings
        self._clock = clock
        self._cpus = cpus
        self._digest = digest
        self._ledger = Ledger(folder, self._recovery.state)
        self._turn = asyncio.Lock()
        self._totals = ServerTotals()
        self._metrics = NodeCounters()
        self._follower: asyncio.Task[None] | None = None
        self._guard = Guard(
            self._ledger,
            front,
            servers,
            clock,
            rules=settings.rules,
            start_seconds=settings.start_seconds,
            take_back=self._take_back,
            note=self._metrics.crashes.inc_for,
            canary_died=self._canary_died,
        )
        self._changes = Changes(
            Parts(
                ledger=self._ledger,
                front=front,
                servers=servers,
                arguments=arguments,
                folder=folder,
                cpus=cpus,
                drain_seconds=settings.drain_seconds,
                watch=self._guard.watch,
                retire=self._retire,
            )
        )
        self._trials = Trials(
            self._changes, self._ledger, self._turn, clock, settings.canary_seconds, self._metrics.registry
        )
        self.bounds = limits.knob_bounds(cpus, arguments.initial)
        """Lowest and highest value of each knob here."""
        self.switching = False
        """Whether a change is being made; the old configuration serves."""

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        return self._ledger.state.config

    @property
    def generation(self) -> int:
        """Its number."""
        return self._ledger.state.generation

    @property
    def serving(self) -> tuple[ServerRecord, ...]:
        """The processes of the configuration in force."""
        return self._ledger.state.serving

    @property
    def trial(self) -> Trial | None:
        """What one process tries out, or tried out last and was not put in force."""
        return self._trials.last

    @property
    def taken_back(self) -> TakenBack | None:
        """What it took back last by itself, unless it was ordered again since."""
        return self._ledger.state.taken_back

    async def start(self) -> None:
        """Adopt what an earlier agent left, start what is missing, end what nobody wants; returns when it serves.

        Raises:
            StartError: Nothing serves; what was started is ended again, what was adopted left alone.
        """
        adopted = await self._front.adopt()
        state = self._ledger.state
        self._front.show(state)
        self._ledger.write(state)
        if state.serving and not adopted:
            await self._front.start(self._clock.time())
        await self._end_orphans()
        if not state.serving:
            await self._start_first()
            if not adopted:
                await self._front.start(self._clock.time())
        for server in state.serving:
            self._guard.watch(server)
        self._guard.watch_front()
        self._guard.replace_missing()
        self._changes.resume_drain()
        if state.serving and state.settings != self._digest:
            await self._with_new_settings()
        if self._ledger.state.base_path is not None:
            self._follower = asyncio.create_task(self._follow())

    async def _start_first(self) -> None:
        """Start the processes; where what was in force does not start any more, with what the arguments name."""
        state = self._ledger.state
        try:
            await self._first(state)
        except StartError as error:
            if state.config == self._arguments.initial:
                raise
            # The cause may be another's, such as a share that is not mounted: until the arguments serve nothing is
            # forgotten, and where they do not serve either the next agent begins with what was in force.
            _log.error("what was in force does not start, so the arguments are to hold again: %s", error)
            await self._first(state.begun_anew(self._fresh))

    async def _first(self, wanted: NodeState) -> None:
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                await self._changes.first(wanted)
        except TimeoutError:
            raise StartError(f"the model was not AVAILABLE within {self._settings.start_seconds:g} s") from None

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        """Put a configuration in force; returns when requests are served by it. May be cancelled.

        Raises:
            StaleGenerationError: The number is not newer.
            InfeasibleConfigError: The node cannot run it; names the knob.
            NodeError: It did not come into force, and the old one has kept serving.
        """
        async with self._turn:
            state = self._ledger.state
            if generation == state.generation and config == state.config:
                await self._trials.end("the configuration in force was ordered")
                return
            self._accept(config, generation)
            tried = state.canary is not None and (state.canary.config, state.canary.generation) == (config, generation)
            if not tried:
                await self._trials.end("another configuration was ordered")
            await self._changes.drained()
            try:
                await self._change(config, generation, previous=state.config)
            except BaseException:
                if tried:
                    await self._trials.end("it could not be put in force")
                raise
            if tried:
                self._trials.promoted()

    async def try_out(self, config: ServingConfig, generation: int) -> None:
        """Have one process run a configuration with its share of the requests; returns when it does. May be cancelled.

        Ordered under the same number it comes into force; any other order, :meth:`withdraw`, its process's end or that
        of this agent put an end to it.

        Raises:
            StaleGenerationError: The number is not newer.
            InfeasibleConfigError: The node cannot run it, or cannot try it out; names the knob.
            NodeError: It did not come up, and nothing of it is left.
        """
        async with self._turn:
            canary = self._ledger.state.canary
            if canary is not None and (canary.config, canary.generation) == (config, generation):
                return
            self._accept(config, generation)
            await self._trials.end("another configuration was ordered")
            await self._changes.drained()
            self.switching = True
            try:
                await self._trials.begin(config, generation)
            finally:
                self.switching = False

    async def withdraw(self) -> None:
        """Put an end to what is tried out, if anything is; returns when it gets nothing new."""
        async with self._turn:
            await self._trials.end("it was withdrawn by order")

    async def versions(self) -> list[int]:
        """Versions of the model that are served, as the first process tells that answers; none where none does."""
        return await first_answer([self._versions(server) for server in self.serving], _VERSIONS_SECONDS) or []

    async def _versions(self, server: ServerRecord) -> list[int] | None:
        versions = await self._servers.versions(server)
        return sorted(version.number for version in versions if version.state == "AVAILABLE") or None

    async def metrics(self) -> str:
        """The metrics page.

        Raises:
            FrontError: Envoy does not answer, and nothing could be said of what clients felt.
        """
        felt = await self._front.felt()
        state = self._ledger.state
        serving = (*state.serving, *([state.canary.server] if state.canary is not None else []))
        pages = await asyncio.gather(*(self._servers.metrics(server, _SCRAPE_SECONDS) for server in serving))
        for server, text in zip(serving, pages, strict=True):
            if text is not None:
                self._totals.saw(server, text)
        self._totals.keep_only(self._ledger.state.servers)
        self._metrics.servers.set(len(serving))
        own = generate_latest(self._metrics.registry).decode()
        return (
            page(
                self._arguments.model,
                felt,
                self._totals,
                generation=self.generation,
                front_started_at=self._front.started_at,
            )
            + own
        )

    async def stop(self, drain_seconds: float) -> None:
        """Take nothing new, finish what is in hand, end everything; what is in force is remembered. Idempotent."""
        self._trials.stop()
        if self._follower is not None:
            self._follower.cancel()
        await self._front.drain(drain_seconds)
        await self._guard.stop()
        await self._front.stop()
        await self._servers.end(self._ledger.state.servers)
        await processes.end_all_but(set(), self._folder.path, _ORPHAN_SECONDS)
        self._ledger.note(self._ledger.state.down())

    async def _change(
        self,
        config: ServingConfig,
        generation: int,
        *,
        previous: ServingConfig | None,
        restart: bool = False,
        taken_back: TakenBack | None = None,
    ) -> None:
        self.switching = True
        way, begun = RESTART if restart else self._changes.way(config, generation), self._clock.monotonic()
        outcome = "failed"
        try:
            await self._changes.make(config, generation, way, previous=previous, taken_back=taken_back)
            outcome = "ok"
        finally:
            self.switching = False
            self._metrics.switches.labels(way=way, outcome=outcome).inc()
        self._metrics.switch_seconds.labels(way=way).observe(self._clock.monotonic() - begun)
        self._guard.in_force(generation)
        # Replacements of the generation before give up at the change, and one that died meanwhile is in neither.
        self._guard.replace_missing()
        _log.info("generation %d in force by %s: %s", generation, way, config.describe())

    async def _take_back(self, generation: int, last_words: str) -> bool:
        """Return to the configuration before, whose number is the next; whether that was done."""
        async with self._turn:
            state = self._ledger.state
            if state.generation != generation or state.previous is None:
                return state.generation != generation
            _log.error("generation %d crashes again and again and is taken back:\n%s", generation, last_words)
            taken_back = TakenBack.crashing(generation, state.config, last_words)
            try:
                async with asyncio.timeout(self._settings.start_seconds):
                    await self._trials.end("the configuration in force crashes")
                    await self._changes.drained()
                    await self._change(state.previous, generation + 1, previous=None, taken_back=taken_back)
            except (NodeError, TimeoutError) as error:
                _log.error("it could not be taken back: %s", error)
                return False
            self._metrics.rollbacks.inc()
            return True

    async def _with_new_settings(self) -> None:
        """The user starts the agent with other arguments than before: the same configuration, new processes."""
        async with self._turn:
            _log.info("the server's arguments have changed: its processes are replaced")
            state = self._ledger.state
            await self._change(state.config, state.generation + 1, previous=None, restart=True)
            # Where this cannot be written the next agent replaces them once more, which does no harm.
            self._ledger.note(replace(self._ledger.state, settings=self._digest))

    async def _follow(self) -> None:
        while True:
            await self._clock.sleep(FOLLOW_SECONDS)
            try:
                async with self._turn, asyncio.timeout(self._settings.start_seconds):
                    if self._ledger.state.canary is None:  # two that are compared run the same version
                        await self._changes.follow()
            except (NodeError, TimeoutError) as error:
                _log.error("the newest version of the model could not be brought into service: %s", error)

    def _accept(self, config: ServingConfig, generation: int) -> None:
        current = self._ledger.state.generation
        if generation <= current:
            raise StaleGenerationError(generation, current)
        limits.check_feasible(config, self.bounds, self._cpus)
        batching_file.check(config, self._arguments.extras)
        self._ledger.write(self._ledger.state.ordered(config))

    async def _canary_died(self, server: ServerRecord, last_words: str) -> bool:
        return await self._trials.died(server, last_words)

    async def _retire(self, server: ServerRecord) -> None:
        text = await self._servers.metrics(server, _SCRAPE_SECONDS)
        if text is not None:
            self._totals.saw(server, text)
        self._totals.gone(server)

    async def _end_orphans(self) -> None:
        state = self._ledger.state
        wanted = {(one.pid, one.started_ticks) for one in state.servers}
        if self._front.process is not None:
            wanted.add((self._front.process.pid, self._front.process.started_ticks))
        await processes.end_all_but(wanted, self._folder.path, _ORPHAN_SECONDS)
