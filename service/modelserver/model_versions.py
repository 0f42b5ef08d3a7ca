"""ModelVersions: the life of one model's versions, from the folder that appears to the session that is closed.

It does what :func:`service.modelserver.versions.plan` says, each time something changed: loads with retries, and
unloads that let the requests under way finish. Lives in the event loop; what blocks is behind the ``load`` it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.domain.clock import Clock
from service.modelserver.servable import Servable
from service.modelserver.status import Code, ServingError
from service.modelserver.versions import State, VersionStatus, plan

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What all models of a server have in common.

    Attributes:
        load: Loads one version: (model name, version, folder) → servable; raises ServingError.
        changed: Called with a model's name whenever the set of its available versions has changed.
        max_retries: Further attempts after a load failed.
        retry_interval_seconds: Pause before each of them.
        load_slots: Bounds how many versions are loaded at once.
        unload_slots: Bounds how many versions are unloaded at once.
        clock: Times the pauses.
    """

    load: Callable[[str, int, Path], Awaitable[Servable]]
    changed: Callable[[str], None]
    max_retries: int
    retry_interval_seconds: float
    load_slots: asyncio.Semaphore
    unload_slots: asyncio.Semaphore
    clock: Clock


@dataclass(slots=True)
class _Managed:
    """One version that was begun and neither unloaded nor dropped."""

    version: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    dropped: asyncio.Event = field(default_factory=asyncio.Event)
    loading: asyncio.Task[None] | None = None

    @property
    def status(self) -> VersionStatus:
        return VersionStatus(self.version, self.state, self.error)


class ModelVersions:
    """The versions of one model.

    Args:
        name: The model's.
        lifecycle: How versions are loaded and unloaded.
    """

    def __init__(self, name: str, lifecycle: Lifecycle) -> None:
        self.name = name
        self._lifecycle = lifecycle
        self._aspired: Mapping[int, Path] = {}
        self._managed: dict[int, _Managed] = {}
        self._available: dict[int, Servable] = {}
        self._ended: dict[int, VersionStatus] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def available(self) -> Mapping[int, Servable]:
        """The versions that serve, by number."""
        return self._available

    @property
    def statuses(self) -> list[VersionStatus]:
        """The newest status of every version that was ever begun, the highest number first."""
        known = self._ended | {version: entry.status for version, entry in self._managed.items()}
        return [known[version] for version in sorted(known, reverse=True)]

    def aspire(self, versions: Mapping[int, Path]) -> None:
        """Begin to make exactly these versions available: number → folder. Returns at once."""
        for version, path in versions.items():
            entry = self._managed.get(version)
            if entry is not None and entry.path != path:
                _log.warning(
                    "model %s: version %d stays as it was loaded from %s; %s is not loaded in its place. "
                    "Use another version number.",
                    self.name,
                    version,
                    entry.path,
                    path,
                )
        self._aspired = dict(versions)
        self._step()

    async def loaded(self) -> None:
        """Wait until every aspired version is available or has failed for good."""
        while pending := [
            entry.loading
            for version, entry in self._managed.items()
            if version in self._aspired and entry.loading is not None and not entry.loading.done()
        ]:
            await asyncio.wait(pending)

    async def stop(self) -> None:
        """Unload everything, letting requests under way finish."""
        self.aspire({})
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _step(self) -> None:
        """Start what can be started now."""
        todo = plan(self._aspired.keys(), {version: entry.state for version, entry in self._managed.items()})
        for version in todo.load:
            entry = self._managed[version] = _Managed(version, self._aspired[version])
            self._ended.pop(version, None)
            entry.loading = self._spawn(self._load(entry))
        for version in todo.unload:
            entry = self._managed[version]
            entry.state = State.UNLOADING
            self._spawn(self._unload(entry, self._available.pop(version)))
            self._lifecycle.changed(self.name)
        for version in todo.drop:
            entry = self._managed[version]
            entry.dropped.set()
            if entry.state is State.END:
                self._end(entry)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _load(self, entry: _Managed) -> None:
        attempts = self._lifecycle.max_retries + 1
        for attempt in range(1, attempts + 1):
            if attempt > 1 and not await self._pause(entry.dropped):
                break
            try:
                async with self._lifecycle.load_slots:
                    entry.state = State.LOADING
                    servable = await self._lifecycle.load(self.name, entry.version, entry.path)
            except ServingError as error:
                entry.error = error
            except Exception as error:  # whatever a model does, the others must go on being served
                _log.exception("model %s version %d: unexpected failure", self.name, entry.version)
                entry.error = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            else:
                self._available[entry.version] = servable
                entry.state, entry.error = State.AVAILABLE, None
                _log.info("model %s version %d: available, from %s", self.name, entry.version, entry.path)
                self._lifecycle.changed(self.name)
                self._step()
                return
            _log.error(
                "model %s version %d: load attempt %d of %d failed: %s",
                self.name,
                entry.version,
                attempt,
                attempts,
                entry.error.message,
            )
        entry.state = State.END
        if entry.dropped.is_set():
            self._end(entry)
        self._step()

    async def _pause(self, dropped: asyncio.Event) -> bool:
        """Wait for the next attempt; False as soon as it has become pointless."""
        waits = [
            asyncio.ensure_future(self._lifecycle.clock.sleep(max(self._lifecycle.retry_interval_seconds, 0.0))),
            asyncio.ensure_future(dropped.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await wait
        return not dropped.is_set()

    async def _unload(self, entry: _Managed, servable: Servable) -> None:
        try:
            async with self._lifecycle.unload_slots:
                await servable.close()
        except Exception:
            _log.exception("model %s version %d: could not be closed", self.name, entry.version)
        else:
            _log.info("model %s version %d: unloaded", self.name, entry.version)
        entry.state = State.END
        self._end(entry)
        self._step()

    def _end(self, entry: _Managed) -> None:
        """Move a version from the managed ones to the history."""
        self._ended[entry.version] = entry.status
        del self._managed[entry.version]
