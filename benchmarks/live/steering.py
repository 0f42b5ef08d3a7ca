"""Steering: one policy steers one live server for a given time, in a process of its own like the control service.

``python -m benchmarks.live.steering``: a task as JSON on the first line of standard input; ``ready`` on standard output
once everything is loaded; begins at the next line of input; at the end writes what it did to the task's file and says
``done``.

It is the control service's loop without what guards it: windows are built by its telemetry and judged by its rules,
each judged window is learnt from, the policy is asked, and what it says is put in force at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.live.outcome import Steered, Switch
from benchmarks.live.task import Task, write_log
from benchmarks.replay.policies import factory_of
from service.backends.agent_backend import AgentBackend
from service.backends.protocol import Backend
from service.control.feasible import node_space
from service.control.judge import NotYet, judge
from service.control.settings import LoopSettings
from service.domain.clock import Clock, SystemClock
from service.domain.decision import Recommendation
from service.domain.errors import BackendError, TelemetryError
from service.domain.histogram import Histogram, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.policy import Policy
from service.telemetry.scraper import Scraper
from service.telemetry.windows import WindowBuilder, WindowSettings

#: Rounds of a throw-away policy beforehand, so that no run pays for what is loaded and compiled at the first use.
_REHEARSALS = 4
#: Longer than any change of the configuration takes.
HTTP_TIMEOUT_SECONDS = 70.0


@dataclass(slots=True)
class _Log:
    windows: int = 0
    thinking: list[float] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    refused: int = 0


class Steering:
    """The loop.

    Args:
        policy: Chooses.
        backend: Puts configurations in force.
        scraper: Reads the metrics.
        slo: The objective.
        settings: How to watch and judge.
        clock: Time.
    """

    def __init__(
        self, policy: Policy, backend: Backend, scraper: Scraper, slo: Slo, settings: LoopSettings, clock: Clock
    ) -> None:
        self._policy = policy
        self._backend = backend
        self._scraper = scraper
        self._slo = slo
        self._settings = settings
        self._clock = clock
        self._log = _Log()
        self._thinking_since: float | None = None
        self._windows = WindowBuilder(
            WindowSettings(
                window_seconds=settings.window_seconds,
                min_requests=settings.min_requests,
                max_window_seconds=settings.max_window_seconds,
                blanking_seconds=settings.blanking_seconds,
                max_gap_seconds=settings.metrics_stale_seconds,
            ),
            clock,
        )

    async def run(self, seconds: float) -> Steered:
        """Steer for so long; a policy that still thinks then is not waited for.

        Raises:
            Exception: Whatever the policy raised.
        """
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self._steer())
        except TimeoutError:
            if self._thinking_since is not None:
                self._log.thinking.append(self._clock.monotonic() - self._thinking_since)
        return Steered(
            windows=self._log.windows,
            thinking=tuple(self._log.thinking),
            switches=tuple(self._log.switches),
            refused=self._log.refused,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )

    async def _watch(self) -> None:
        while True:
            try:
                self._windows.add(await self._scraper.read())
            except TelemetryError as error:
                # One reading the less; counters are cumulative.
                print(error, file=sys.stderr)
            await self._clock.sleep(self._settings.scrape_interval_seconds)

    async def _steer(self) -> None:
        incumbent = (await self._backend.read()).config
        waiting_since = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._settings.scrape_interval_seconds / 2)
            windows = self._windows
            waited = self._clock.monotonic() - waiting_since
            found = judge(windows.current(), windows.stationarity(), self._slo, self._settings, waited_seconds=waited)
            if isinstance(found, NotYet):
                if found.rebase:
                    windows.rebase_to_recent()
                continue
            windows.start_next()
            waiting_since = self._clock.monotonic()
            self._log.windows += 1
            choice = await self._think(found.window, incumbent)
            if choice.config != incumbent and await self._put(choice):
                incumbent = choice.config
                windows.restart("switch")
                waiting_since = self._clock.monotonic()

    async def _think(self, window: Window, incumbent: ServingConfig) -> Recommendation:
        started = self._thinking_since = self._clock.monotonic()
        choice = await asyncio.to_thread(learn_and_choose, self._policy, window, incumbent, self._slo)
        self._log.thinking.append(self._clock.monotonic() - started)
        self._thinking_since = None
        return choice

    async def _put(self, choice: Recommendation) -> bool:
        started = self._clock.monotonic()
        try:
            state = await self._backend.read()
            await self._backend.apply(choice.config, state.generation + 1)
        except BackendError as error:
            # The old configuration serves on.
            print(f"{choice.config.describe()}: {error}", file=sys.stderr)
            self._log.refused += 1
            return False
        took = self._clock.monotonic() - started
        switch = Switch(
            at=self._clock.time(), config=choice.config.describe(), intent=choice.intent.value, seconds=took
        )
        self._log.switches.append(switch)
        return True


def learn_and_choose(policy: Policy, window: Window, incumbent: ServingConfig, slo: Slo) -> Recommendation:
    """What a policy does after a window."""
    policy.observe(window.workload, incumbent, window)
    return policy.suggest(window.workload, incumbent, slo)


def rehearse(policy: Policy, incumbent: ServingConfig, slo: Slo) -> None:
    """Let a policy that is thrown away afterwards do what another will do in earnest."""
    rng = np.random.default_rng(0)
    bounds, sizes = exponential_bounds(1e-4, 1.1, 141), exponential_bounds(1, 2, 14)
    for slowness in np.geomspace(4.0, 0.25, _REHEARSALS):
        latencies = slo.bound_seconds * slowness * rng.lognormal(-1.0, 0.5, 500)
        window = Window(
            started_at=0.0,
            duration_seconds=2.5,
            latency=Histogram.of(latencies.tolist(), bounds),
            workload=Workload(200.0),
            succeeded=len(latencies),
            batch_size=Histogram.of([2.0] * 250, sizes) if incumbent.enable_batching else None,
            queueing=Histogram.of((latencies / 4).tolist(), bounds) if incumbent.enable_batching else None,
        )
        incumbent = learn_and_choose(policy, window, incumbent, slo).config


async def _carry_out(task: Task) -> Steered:
    clock = SystemClock()
    slo = Slo.from_dict(task.slo)
    settings = LoopSettings.model_validate(task.loop)
    async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_SECONDS, trust_env=False) as client:
        backend = AgentBackend(task.agent, client)
        state = await backend.read()
        space = node_space(state.support, state.config, {}, {})
        make = factory_of(task.policy, {})
        rehearse(make(space, task.seed), state.config, slo)
        scraper = Scraper(task.metrics, task.model, client, clock, timeout_seconds=settings.scrape_timeout_seconds)
        steering = Steering(make(space, task.seed), backend, scraper, slo, settings, clock)
        print("ready", flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            raise EOFError("whoever asked for this is gone")
        return await steering.run(task.seconds)


def carry_out_one(carry_out: Callable[[Task], Coroutine[None, None, Steered]]) -> None:
    """One task from standard input; the server's absence and a policy's errors end it with a traceback."""
    task = Task(**json.loads(sys.stdin.readline()))
    # asyncio.run would wait for the thread of a policy that still thinks.
    loop = asyncio.new_event_loop()
    steered = loop.run_until_complete(carry_out(task))
    write_log(steered, Path(task.log))
    print("done", flush=True)
    # Its processor time is still to be read.
    sys.stdin.readline()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    carry_out_one(_carry_out)
