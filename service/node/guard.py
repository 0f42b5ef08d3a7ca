"""Guard: watches every process that serves, starts again what ends by itself, and takes back a change that crashes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from service.domain.clock import Clock
from service.node.crashes import CrashLog, CrashRules
from service.node.errors import NodeError, StateError
from service.node.files import Ledger
from service.node.front import EnvoyFront
from service.node.processes import ended, tail
from service.node.servers import Servers
from service.node.state import ServerRecord

_log = logging.getLogger(__name__)


class Guard:
    """One task for each process that serves, and one for Envoy.

    Args:
        ledger: Who serves.
        front: Envoy.
        servers: Starts replacements.
        clock: Time.
        rules: When to start again, and when to take back.
        start_seconds: How long a replacement may take until it serves.
        take_back: Returns to the configuration before, because of the given generation's crashes.
        note: Told of every end that nobody asked for: of a ``server`` or of ``envoy``.
        canary_died: Told of such an end of a server; returns whether that was one that tried something out.
    """

    def __init__(
        self,
        ledger: Ledger,
        front: EnvoyFront,
        servers: Servers,
        clock: Clock,
        *,
        rules: CrashRules,
        start_seconds: float,
        take_back: Callable[[int, str], Awaitable[bool]],
        note: Callable[[str], None],
        canary_died: Callable[[ServerRecord, str], Awaitable[bool]],
    ) -> None:
        self._ledger = ledger
        self._front = front
        self._servers = servers
        self._clock = clock
        self._rules = rules
        self._start_seconds = start_seconds
        self._take_back = take_back
        self._note = note
        self._canary_died = canary_died
        self._tasks: set[asyncio.Task[None]] = set()
        self._crashes: dict[int, CrashLog] = {}
        self._coming: Counter[int] = Counter()  # replacements that are being started, by generation
        self._shown = True  # whether Envoy has been told who serves
        self._since = {ledger.state.generation: float("-inf")}
        self._envoy_crashes = CrashLog(rules, float("-inf"), can_roll_back=False)

    def in_force(self, generation: int) -> None:
        """A generation has just begun to serve: it is on trial."""
        self._since = {generation: self._clock.monotonic()}
        self._crashes.clear()

    def watch(self, server: ServerRecord) -> None:
        """Watch a process that serves."""
        self._run(self._watch(server))

    def watch_front(self) -> None:
        """Watch Envoy."""
        self._run(self._front.run_on(self._front_ended))

    def replace_missing(self) -> None:
        """Start as many processes as are missing and not being started already."""
        state = self._ledger.state
        for _ in range(state.config.instances - len(state.serving) - self._coming[state.generation]):
            self._run(self._coming_in(state.generation, None))

    async def stop(self) -> None:
        """Watch nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a watch has failed", exc_info=error)

    async def _watch(self, server: ServerRecord) -> None:
        await ended(server)
        state, last_words = self._ledger.state, tail(Path(server.log))
        if state.canary is not None and state.canary.server == server:
            self._note("server")
            if await self._canary_died(server, last_words):
                return
            state = self._ledger.state
        if server not in state.serving:
            return  # it was to end, or its end is somebody else's to note
        _log.error("server process %d of generation %d ended by itself:\n%s", server.pid, server.generation, last_words)
        self._note("server")
        self._ledger.note(state.lost(server))
        with contextlib.suppress(StateError):
            self._show()
        await self._coming_in(state.generation, last_words)

    def _coming_in(self, generation: int, crash: str | None) -> Coroutine[Any, Any, None]:
        """:meth:`_replace`, counted from now on until it returns."""
        self._coming[generation] += 1

        async def counted() -> None:
            try:
                await self._replace(generation, crash)
            finally:
                self._coming[generation] -= 1

        return counted()

    async def _replace(self, generation: int, crash: str | None) -> None:
        """Start another process in place of one that is missing; returns when it serves, or is not wanted any more.

        Args:
            generation: Of which one is missing; another does not miss it.
            crash: The last words of the one that ended by itself; None where none did.
        """
        pause: float | None = 0.0
        while True:
            if crash is not None:
                pause = self._crash_log(generation).add(self._clock.monotonic())
                if pause is None and await self._take_back(generation, crash):
                    return
            pause = self._rules.longest_pause if pause is None else pause
            if pause:
                _log.info("it is started again in %g s", pause)
                await self._clock.sleep(pause)
            try:
                if not self._shown:
                    self._show()
                if self._too_few(generation):
                    await self._one_more(generation)
            except StateError as error:
                # A full disk is no fault of the configuration, which is not taken back for it.
                _log.error("a replacement cannot be written down: %s", error)
                crash, pause = None, self._rules.pause_after(pause)
            except (NodeError, TimeoutError) as error:
                crash = str(error) or f"not within {self._start_seconds:g} s"
                _log.error("a replacement did not come up: %s", crash)
            else:
                return

    async def _one_more(self, generation: int) -> None:
        """Start one process more; returns when it serves, or a change has been made meanwhile.

        Raises:
            NodeError, TimeoutError: It did not come up, and is ended; or it serves, and Envoy could not be told.
        """
        state = self._ledger.state
        base_path = Path(state.base_path) if state.base_path is not None else None
        new: list[ServerRecord] = []
        try:
            new = self._servers.start(state.launched, generation, 1, base_path)
            self._ledger.write(self._ledger.state.begin(new))
            async with asyncio.timeout(self._start_seconds):
                await self._servers.ready(new, state.config)
            if not self._too_few(generation):
                await self._give_up(new)
                return
            self._ledger.write(self._ledger.state.joined(new[0]))
        except BaseException:
            await self._give_up(new)
            raise
        self.watch(new[0])
        _log.info("server process %d took the place of the one that ended", new[0].pid)
        self._show()

    def _too_few(self, generation: int) -> bool:
        state = self._ledger.state
        return state.generation == generation and len(state.serving) < state.config.instances

    def _show(self) -> None:
        """Tell Envoy who serves.

        Raises:
            StateError: That cannot be written, and is to be tried again.
        """
        self._shown = False
        self._front.show(self._ledger.state)
        self._shown = True

    async def _give_up(self, new: list[ServerRecord]) -> None:
        if new:
            self._ledger.note(self._ledger.state.abandon(new))
            with contextlib.suppress(NodeError):
                await self._servers.end(new)

    def _crash_log(self, generation: int) -> CrashLog:
        if generation not in self._crashes:
            since = self._since.get(generation, float("-inf"))
            can = self._ledger.state.previous is not None
            self._crashes[generation] = CrashLog(self._rules, since, can_roll_back=can)
        return self._crashes[generation]

    async def _front_ended(self, last_words: str) -> None:
        _log.error("Envoy ended by itself and is started again:\n%s", last_words)
        self._note("envoy")
        while True:
            pause = self._envoy_crashes.add(self._clock.monotonic())
            await self._clock.sleep(pause or 0.0)
            try:
                await self._front.start(self._clock.time())
            except NodeError as error:
                _log.error("Envoy did not come up: %s", error)
            else:
                return
