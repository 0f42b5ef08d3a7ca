"""State: what the node remembers beyond the agent's own life, and how a change moves through it. Pure.

Every process is in one of three roles, and a change is three steps, each written down before anything is done about it:

    begin     the new processes are *starting*; the old ones *serve*
    commit    the new ones *serve*; the old ones are *draining*
    drained   the old ones are forgotten

A configuration may be tried out before by one process, the *canary*. One process of the configuration in force gets no
requests meanwhile, so that each of the others, and the canary, has the load that a process always has.

So at whatever moment the agent dies, what it wrote says which processes are to serve. :func:`recovered` is what the
next agent makes of it: before the commit the change has not been, after it the change has. A canary whose agent died
is withdrawn. A node that was stopped in order left no process, and begins with what was in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from service.domain.serving_config import ServingConfig
from service.node.envoy_config import Endpoint, Role
from service.node.errors import StateError
from service.node.taken_back import TakenBack

#: Layout of the file; a file of another is not read.
LAYOUT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """A process that can be recognised again.

    Attributes:
        pid: Its number.
        started_ticks: When it was started, as ``/proc/PID/stat`` counts it; tells it from a later one of that number.
    """

    pid: int
    started_ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord(ProcessRecord):
    """A server process.

    Attributes:
        generation: The generation it was started for.
        grpc_port: Its port for gRPC, on loopback.
        rest_port: Its port for REST and metrics.
        log: Path of its log.
    """

    generation: int
    grpc_port: int
    rest_port: int
    log: str

    @property
    def endpoint(self) -> Endpoint:
        """Where Envoy finds it."""
        return Endpoint(self.grpc_port, self.rest_port, self.generation)


@dataclass(frozen=True, slots=True)
class Versions:
    """A folder of versions that the node made.

    Attributes:
        base_path: The folder; None where processes watch the user's own.
        version: The newest version in it.
        source_version: The user's version that it was made of.
    """

    base_path: str | None = None
    version: int | None = None
    source_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A configuration that one process tries out.

    Attributes:
        generation: The number under which it may come into force.
        config: The configuration.
        server: The process.
        versions: The folder of versions that it watches.
    """

    generation: int
    config: ServingConfig
    server: ServerRecord
    versions: Versions = Versions()


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where requests go: to ``serving`` by their roles; ``resting`` finish what they have."""

    serving: tuple[Endpoint, ...]
    resting: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Everything that is to survive the agent.

    Attributes:
        generation: Number of the configuration in force.
        config: The configuration in force.
        launched: The one with which its processes were started; differs in what was changed without a restart.
        previous: The one before, which a crash loop returns to; None after a return, or at the beginning.
        base_path: Folder of versions that the processes watch, where the node made it; None for the user's own.
        version: The newest version in it that is wanted; None with the user's own.
        source_version: The user's version that it was made of.
        settings: Digest of what the processes were started with beside the configuration.
        initial: The configuration that the node's arguments named; None where it is not known.
        serving: Processes that get requests.
        starting: Processes that are to.
        draining: Processes that finish what they have.
        canary: What one process tries out; None for nothing.
        taken_back: What the node took back last by itself, unless it was ordered again since.
    """

    generation: int
    config: ServingConfig
    launched: ServingConfig
    previous: ServingConfig | None = None
    base_path: str | None = None
    version: int | None = None
    source_version: int | None = None
    settings: str = ""
    initial: ServingConfig | None = None
    serving: tuple[ServerRecord, ...] = ()
    starting: tuple[ServerRecord, ...] = ()
    draining: tuple[ServerRecord, ...] = ()
    canary: Canary | None = None
    taken_back: TakenBack | None = None

    def begin(self, servers: Iterable[ServerRecord]) -> NodeState:
        """Processes were started that do not serve yet."""
        return replace(self, starting=(*self.starting, *servers))

    def abandon(self, servers: Iterable[ServerRecord]) -> NodeState:
        """They will not serve; they are to be ended."""
        gone = set(servers)
        return replace(self, starting=tuple(server for server in self.starting if server not in gone))

    def retreat(self, servers: Iterable[ServerRecord]) -> NodeState:
        """They will not serve; they finish what has reached them already."""
        gone = tuple(servers)
        return replace(self.abandon(gone), draining=(*self.draining, *gone))

    def commit(
        self,
        generation: int,
        config: ServingConfig,
        *,
        launched: ServingConfig,
        added: Iterable[ServerRecord],
        removed: Iterable[ServerRecord],
        previous: ServingConfig | None,
    ) -> NodeState:
        """The change is made: requests go to those that stay and to the new ones. There is no canary any more.

        Args:
            generation: Its number.
            config: What is in force from now on.
            launched: What the processes were started with.
            added: Processes that begin to serve.
            removed: Processes that finish what they have.
            previous: What a crash loop returns to.
        """
        new, old = tuple(added), set(removed)
        return replace(
            self.abandon(new),
            generation=generation,
            config=config,
            launched=launched,
            previous=previous,
            serving=(*(server for server in self.serving if server not in old), *new),
            canary=None,
            draining=(*self.draining, *(server for server in self.serving if server in old)),
        )

    def try_out(self, canary: Canary) -> NodeState:
        """One process that was starting tries a configuration out."""
        return replace(self.abandon([canary.server]), canary=canary)

    def withdraw(self) -> NodeState:
        """What was tried out will not come into force; its process finishes what it has."""
        if self.canary is None:
            return self
        return replace(self, canary=None, draining=(*self.draining, self.canary.server))

    def watching(self, versions: Versions) -> NodeState:
        """The processes that serve watch a folder that the node made."""
        return replace(
            self, base_path=versions.base_path, version=versions.version, source_version=versions.source_version
        )

    def reversioned(self, generation: int, config: ServingConfig, version: int) -> NodeState:
        """The same processes serve by another configuration, which a new version folder brought."""
        previous = self.previous if config == self.config else self.config
        return replace(self, generation=generation, config=config, previous=previous, version=version)

    def joined(self, server: ServerRecord) -> NodeState:
        """A replacement begins to serve."""
        return replace(self.abandon([server]), serving=(*self.serving, server))

    def lost(self, server: ServerRecord) -> NodeState:
        """A process has ended, in whatever role."""
        return replace(
            self,
            serving=tuple(one for one in self.serving if one != server),
            starting=tuple(one for one in self.starting if one != server),
            draining=tuple(one for one in self.draining if one != server),
            canary=None if self.canary is not None and self.canary.server == server else self.canary,
        )

    def drained(self, servers: Iterable[ServerRecord]) -> NodeState:
        """They have finished and may be ended."""
        gone = set(servers)
        return replace(self, draining=tuple(server for server in self.draining if server not in gone))

    def down(self) -> NodeState:
        """All processes have ended; what was in force is remembered."""
        return replace(self, serving=(), starting=(), draining=(), canary=None)

    def begun_anew(self, fresh: NodeState) -> NodeState:
        """The same node by a fresh state: its number is newer, and what was in force is of the past."""
        return replace(fresh, generation=self.generation + 1, draining=self.draining, taken_back=self.taken_back)

    def ordered(self, config: ServingConfig) -> NodeState:
        """Somebody wants a configuration, also if it was taken back before."""
        again = self.taken_back is not None and self.taken_back.config == config
        return replace(self, taken_back=None) if again else self

    @property
    def servers(self) -> tuple[ServerRecord, ...]:
        """All processes."""
        canary = () if self.canary is None else (self.canary.server,)
        return (*self.serving, *canary, *self.starting, *self.draining)

    @property
    def traffic(self) -> Traffic:
        """Where requests go.

        While there is a canary the last process that serves rests, so that there are as many as before, unless one is
        missing anyhow.
        """
        serving = [server.endpoint for server in self.serving]
        draining = [server.endpoint for server in self.draining]
        if self.canary is None:
            return Traffic(tuple(serving), tuple(draining))
        last = len(serving) if len(serving) < max(self.config.instances, 2) else -1
        control = [one.in_role(Role.CONTROL) for one in serving[:last]]
        canary = self.canary.server.endpoint.in_role(Role.CANARY)
        return Traffic((canary, *control), (*serving[last:], *draining))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back to an equal value."""
        return {
            "layout": LAYOUT,
            "generation": self.generation,
            "config": self.config.to_dict(),
            "launched": self.launched.to_dict(),
            "previous": self.previous.to_dict() if self.previous else None,
            "base_path": self.base_path,
            "version": self.version,
            "source_version": self.source_version,
            "settings": self.settings,
            "initial": self.initial.to_dict() if self.initial else None,
            **{role: [_server_to_dict(server) for server in getattr(self, role)] for role in _ROLES},
            "canary": _canary_to_dict(self.canary) if self.canary is not None else None,
            "taken_back": self.taken_back.to_dict() if self.taken_back is not None else None,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> NodeState:
        """Read what :meth:`to_dict` wrote.

        Raises:
            StateError: It was written by another version, or makes no sense.
        """
        if raw.get("layout") != LAYOUT:
            raise StateError(f"the node's state has layout {raw.get('layout')!r}, and this version reads {LAYOUT}")
        try:
            return cls(
                generation=int(raw["generation"]),
                config=ServingConfig.from_dict(raw["config"]),
                launched=ServingConfig.from_dict(raw["launched"]),
                previous=ServingConfig.from_dict(raw["previous"]) if raw["previous"] else None,
                base_path=raw["base_path"],
                version=raw["version"],
                source_version=raw["source_version"],
                settings=raw["settings"],
                **{role: tuple(ServerRecord(**server) for server in raw[role]) for role in _ROLES},
                # Versions before this one wrote none of these.
                initial=ServingConfig.from_dict(raw["initial"]) if raw.get("initial") else None,
                canary=_canary_from_dict(raw["canary"]) if raw.get("canary") else None,
                taken_back=TakenBack.from_dict(raw["taken_back"]) if raw.get("taken_back") else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the node's state cannot be read: {error!r}") from error


_ROLES = ("serving", "starting", "draining")


def _server_to_dict(server: ServerRecord) -> dict[str, Any]:
    return {name: getattr(server, name) for name in ServerRecord.__dataclass_fields__}


def _canary_to_dict(canary: Canary) -> dict[str, Any]:
    return {
        "generation": canary.generation,
        "config": canary.config.to_dict(),
        "server": _server_to_dict(canary.server),
        "versions": asdict(canary.versions),
    }


def _canary_from_dict(raw: Mapping[str, Any]) -> Canary:
    return Canary(
        generation=int(raw["generation"]),
        config=ServingConfig.from_dict(raw["config"]),
        server=ServerRecord(**raw["server"]),
        versions=Versions(**raw["versions"]),
    )


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a new agent does first.

    Attributes:
        state: What holds from now on.
        end: Processes that are no longer wanted.
        missing: How many processes must be started so that there are as many as there should be.
    """

    state: NodeState
    end: tuple[ServerRecord, ...] = field(default=())
    missing: int = 0


def recovered(state: NodeState, fresh: NodeState, alive: Callable[[ServerRecord], bool]) -> Recovery:
    """What becomes of a state whose agent has ended, however it did.

    What was in force goes on, also where nothing runs any more, unless the arguments name another configuration since:
    then whoever changed them wants it.

    Args:
        state: What it wrote last.
        fresh: What a node begins with that was never there before.
        alive: Whether a process still runs.
    """
    state = state.withdraw()
    serving = tuple(server for server in state.serving if alive(server))
    kept = replace(
        state, serving=serving, starting=(), draining=tuple(server for server in state.draining if alive(server))
    )
    if not serving:
        changed = state.initial is not None and state.initial != fresh.initial
        kept = kept.begun_anew(fresh) if changed else replace(kept, settings=fresh.settings, initial=fresh.initial)
    return Recovery(
        state=kept,
        end=tuple(server for server in state.starting if alive(server)),
        missing=max(kept.config.instances - len(serving), 0),
    )
