"""Steering with guardrails: the control service's loop steers one live server for a given time, in its own process.

``python -m benchmarks.guarded.steering``: the counterpart of ``benchmarks.live.steering``, with the same manners and
the same policies. Between policy and server stands :class:`service.control.loop.ModelLoop` in mode ``auto``.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from pathlib import Path
from time import perf_counter

import httpx
import structlog
from prometheus_client import CollectorRegistry

from benchmarks.live.outcome import Steered, Switch
from benchmarks.live.steering import HTTP_TIMEOUT_SECONDS, carry_out_one, rehearse
from benchmarks.live.task import GUARDED, Task
from benchmarks.replay.policies import factory_of
from service.backends.agent_backend import AgentBackend
from service.backends.protocol import Backend, BackendState
from service.control.feasible import node_space
from service.control.kill_switch import KillSwitch
from service.control.loop import ModelLoop
from service.control.settings import LoopSettings, ModelSettings, SloSettings
from service.control.workers import Workers
from service.domain.clock import Clock, SystemClock
from service.domain.decision import Action, Mode, Recommendation
from service.domain.errors import BackendError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.policy import Policy
from service.learning.space import ConfigSpace
from service.store import Store
from service.telemetry.own_metrics import ControlMetrics
from service.telemetry.scraper import Scraper


class Timed:
    """A policy that notes how long it thinks: learning from a window and choosing after it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._learning = 0.0
        self.seconds: list[float] = []
        """Of each suggestion."""

    @property
    def name(self) -> str:
        """The policy's."""
        return self._policy.name

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        """As the policy does."""
        began = perf_counter()
        found = self._policy.suggest(workload, incumbent, slo, explore=explore)
        self.seconds.append(self._learning + perf_counter() - began)
        self._learning = 0.0
        return found

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        """As the policy does."""
        began = perf_counter()
        self._policy.observe(workload, config, window)
        self._learning += perf_counter() - began

    def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        """As the policy does."""
        return self._policy.predict(workload, config, slo)


class Noted:
    """A backend that notes what was put in force, when, and how long that took."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self.refused = 0
        self.applied: list[tuple[float, ServingConfig, float]] = []
        """Unix time, configuration and seconds of each change."""

    async def read(self) -> BackendState:
        """As the backend does."""
        return await self._backend.read()

    async def apply(self, config: ServingConfig, generation: int) -> BackendState:
        """As the backend does."""
        began = self._clock.monotonic()
        try:
            state = await self._backend.apply(config, generation)
        except BackendError:
            self.refused += 1
            raise
        self.applied.append((self._clock.time(), state.config, self._clock.monotonic() - began))
        return state

    async def close(self) -> None:
        """As the backend does."""
        await self._backend.close()


async def carry_out(task: Task) -> Steered:
    """Steer for as long as the task says; what the loop decided lies in a database beside the log.

    Raises:
        BackendUnavailableError: The agent did not answer in the beginning.
        EOFError: Whoever asked for this is gone.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    clock, slo = SystemClock(), Slo.from_dict(task.slo)
    settings = LoopSettings.model_validate(task.loop)
    database = Path(task.log).with_suffix(".db")
    for left_over in database.parent.glob(f"{database.name}*"):
        left_over.unlink()
    store, workers = Store.open(f"sqlite:///{database}", clock=clock), Workers()
    async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_SECONDS, trust_env=False) as client:
        backend = Noted(AgentBackend(task.agent, client), clock)
        state = await backend.read()
        make = factory_of(task.policy.removeprefix(GUARDED), {})
        rehearse(make(node_space(state.support, state.config, {}, {}), task.seed), state.config, slo)
        policies: list[Timed] = []

        def factory(space: ConfigSpace) -> Policy:
            policies.append(Timed(make(space, task.seed)))
            return policies[-1]

        loop = ModelLoop(
            ModelSettings(
                name=task.model,
                agent_url=task.agent,
                metrics_url=task.metrics,
                slo=SloSettings(**slo.to_dict()),
                mode=Mode.AUTO,
            ),
            settings,
            backend=backend,
            scraper=Scraper(task.metrics, task.model, client, clock, timeout_seconds=settings.scrape_timeout_seconds),
            store=store,
            policy_factory=factory,
            workers=workers,
            kill_switch=KillSwitch(store, workers),
            clock=clock,
            metrics=ControlMetrics(CollectorRegistry(), version="benchmark"),
        )
        print("ready", flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            raise EOFError("whoever asked for this is gone")
        try:
            async with asyncio.timeout(task.seconds):
                await loop.run()
        except TimeoutError:
            pass
    changes = store.decisions(task.model, limit=1000, actions=frozenset({Action.APPLY, Action.ROLLBACK}))[::-1]
    intents = [_intent(one.action, one.recommendation) for one in changes]
    # A change that was under way at the end was made, and nobody lived to write it down.
    intents += ["unknown"] * (len(backend.applied) - len(intents))
    return Steered(
        windows=loop.status().observations,
        thinking=tuple(seconds for policy in policies for seconds in policy.seconds),
        switches=tuple(
            Switch(at=at, config=config.describe(), intent=intent, seconds=seconds)
            for (at, config, seconds), intent in zip(backend.applied, intents, strict=False)
        ),
        refused=backend.refused,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _intent(action: Action, recommendation: Recommendation | None) -> str:
    return recommendation.intent.value if action is Action.APPLY and recommendation else action.value


if __name__ == "__main__":
    carry_out_one(carry_out)
