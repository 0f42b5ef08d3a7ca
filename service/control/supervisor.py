"""Supervisor: one independent loop a model; the one door through which API and CLI ask and command."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

import httpx
import structlog

from service.backends.agent_backend import AgentBackend, controller_name
from service.control.kill_switch import KillSwitch
from service.control.learner import PolicyFactory
from service.control.loop import ModelLoop
from service.control.settings import LoopSettings, ModelSettings
from service.control.status import ModelStatus
from service.control.workers import Workers
from service.domain.backoff import Backoff
from service.domain.clock import Clock, SystemClock
from service.domain.decision import Decision, Mode, Recommendation
from service.domain.errors import InvalidValueError, StoreError, UnknownModelError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.learning.adaptive_rrl import AdaptiveRRL
from service.learning.space import ConfigSpace
from service.store.store import Store
from service.telemetry.metrics_page import MetricsPage
from service.telemetry.own_metrics import ControlMetrics
from service.telemetry.scraper import Scraper

#: A metrics page is fetched once for the models that share it: a reading may be this share of the interval old.
PAGE_SHARE = 0.9

#: How often old history is dropped, seconds.
PRUNE_INTERVAL_SECONDS = 3600.0

#: How long loops have the history for themselves between two droppings, seconds. A SQLite writer that waits looks again
#: at least every 0.1 s.
PRUNE_PAUSE_SECONDS = 0.2

log = structlog.get_logger(__name__)


def default_policy(space: ConfigSpace) -> AdaptiveRRL:
    """The policy of a model whose owner asked for no other; seeded, so that a run can be repeated."""
    return AdaptiveRRL(space, seed=0)


def default_client() -> httpx.AsyncClient:
    """An HTTP client for one node; every call passes its own time-out."""
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=4), follow_redirects=False, verify=_trusted())


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted, read once: hundreds of clients would read them for seconds and keep a copy."""
    return ssl.create_default_context()


class Supervisor:
    """Runs the loops of all models and answers for them.

    All methods are called in one event loop. Those that name a model raise ``UnknownModelError`` for one that is not
    steered here. What a person commands (objective, mode, configuration, rollback) is written to the history before
    the call returns; a ``StoreError`` means that it was not, and nothing was changed.

    Args:
        models: What to steer; names are unique.
        settings: How every loop works.
        store: The history, open. The caller closes it after :meth:`stop`.
        metrics: Our own metrics; the caller exposes them.
        clock: Time; the machine's own by default.
        client_factory: Makes the HTTP client of one model. Each has its own, so that a node that hangs takes no
            connection from another.
        policy_factory: Makes the policy of one model for the configurations of its node.

    Raises:
        InvalidValueError: Two models have the same name.
    """

    def __init__(
        self,
        models: Sequence[ModelSettings],
        settings: LoopSettings,
        store: Store,
        *,
        metrics: ControlMetrics,
        clock: Clock | None = None,
        client_factory: Callable[[], httpx.AsyncClient] = default_client,
        policy_factory: PolicyFactory = default_policy,
    ) -> None:
        names = [model.name for model in models]
        for name in names:
            if names.count(name) > 1:
                raise InvalidValueError("models", f"{name!r} is given twice; names must be unique")
        self._controller = controller_name()
        self._settings = settings
        self._store = store
        self._clock = clock or SystemClock()
        self._metrics = metrics
        self._workers = Workers()
        self._kill_switch = KillSwitch(store, self._workers)
        self._clients = {model.name: client_factory() for model in models}
        self._pages: dict[str, MetricsPage] = {}
        self._backends = {model.name: self._backend(model) for model in models}
        self._loops = {model.name: self._loop(model, policy_factory) for model in models}
        self._tasks: list[asyncio.Task[None]] = []

    def _backend(self, model: ModelSettings) -> AgentBackend:
        return AgentBackend(
            model.agent_url,
            self._clients[model.name],
            read_timeout_seconds=self._settings.agent_timeout_seconds,
            apply_timeout_seconds=self._settings.apply_timeout_seconds,
            controller=self._controller,
        )

    def _loop(self, model: ModelSettings, policy_factory: PolicyFactory) -> ModelLoop:
        client = self._clients[model.name]
        settings = self._settings
        return ModelLoop(
            model,
            settings,
            backend=self._backends[model.name],
            scraper=Scraper.on(self._page(model, client), model.name),
            store=self._store,
            policy_factory=policy_factory,
            workers=self._workers,
            kill_switch=self._kill_switch,
            clock=self._clock,
            metrics=self._metrics,
        )

    def _page(self, model: ModelSettings, client: httpx.AsyncClient) -> MetricsPage:
        """The page that a model is read from; models of one server share it, and the client of the first."""
        page = self._pages.get(model.metrics_url)
        if page is None:
            page = self._pages[model.metrics_url] = MetricsPage(
                model.metrics_url,
                client,
                self._clock,
                timeout_seconds=self._settings.scrape_timeout_seconds,
                share_seconds=PAGE_SHARE * self._settings.scrape_interval_seconds,
                backoff=self._page_backoff(model.metrics_url),
            )
        return page

    def _page_backoff(self, url: str) -> Backoff:
        """Pauses no longer than makes metrics count as missing, so that a server that is back is soon seen again."""
        longest = min(self._settings.metrics_stale_seconds, self._settings.max_backoff_seconds)
        rng = Random(url)  # noqa: S311 — spreads pauses and guards nothing
        return Backoff(self._settings.scrape_interval_seconds, longest, rng)

    async def start(self) -> None:
        """Begin all loops and return; whether they have found their feet is told by :meth:`ready`."""
        await self._succeed()
        self._tasks = [asyncio.create_task(loop.run(), name=f"loop:{name}") for name, loop in self._loops.items()]
        self._tasks.append(asyncio.create_task(self._prune(), name="prune"))

    async def _succeed(self) -> None:
        """Spare the nodes the leases of a service that died on this database."""
        try:
            dead = await self._workers.store(self._store.keep, self._controller)
        except StoreError as error:
            log.warning("it is not known who steered before: leases run out by themselves", error=str(error))
            return
        if dead is not None:
            for backend in self._backends.values():
                backend.succeed(dead)

    async def stop(self) -> None:
        """End all loops and release connections. Idempotent.

        A change that is under way at an agent is left to the agent: the next start finds out what is in force.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(backend.close() for backend in self._backends.values()))
        for client in self._clients.values():
            await client.aclose()
        await self._workers.close()

    def names(self) -> list[str]:
        """The models that are steered, in the order of the settings."""
        return list(self._loops)

    def status(self, model: str) -> ModelStatus:
        """Everything about one model now. Never waits.

        Raises:
            UnknownModelError: No such model here.
        """
        return self._of(model).status()

    async def set_slo(self, model: str, slo: Slo) -> None:
        """Change the objective; remembered across restarts. The window in progress is judged by the new one.

        Raises:
            UnknownModelError: No such model here.
            StoreError: It could not be remembered; the old one stands.
        """
        await self._of(model).set_slo(slo)

    async def set_mode(self, model: str, mode: Mode) -> None:
        """Change how much may be done; remembered across restarts.

        Leaving ``auto`` stops changes at once, except one that an agent is already carrying out.

        Raises:
            UnknownModelError: No such model here.
            StoreError: It could not be remembered; the old one stands.
        """
        await self._of(model).set_mode(mode)

    @property
    def killed(self) -> bool:
        """Whether the kill switch is on. While it is, nothing is done automatically for any model."""
        return self._kill_switch.on

    async def turn_kill_switch(self, *, on: bool) -> None:
        """Turn the kill switch; remembered across restarts. On takes effect at once, even if it cannot be remembered.

        Raises:
            StoreError: It could not be remembered: on holds until this process ends, off has not come into effect.
        """
        await self._kill_switch.turn(on=on)

    async def skip_learning(self, model: str) -> Decision:
        """End a model's learning period before its time. It stays over once the loop has acted on its own.

        Raises:
            UnknownModelError: No such model here.
            StoreError: It could not be written down.
        """
        return await self._of(model).skip_learning()

    async def recommendation(self, model: str) -> Recommendation:
        """What the policy would choose under the present load and objective. Changes nothing.

        Raises:
            UnknownModelError: No such model here.
            TelemetryError: The present load is not known yet.
            BackendUnavailableError: The agent has not answered yet, so what is possible is not known.
        """
        return await self._of(model).recommendation()

    async def what_if(self, model: str, workload: Workload, slo: Slo | None = None) -> Recommendation:
        """What the policy would choose under another load, or another objective. Changes nothing.

        Args:
            model: Name of the model.
            workload: The load to suppose.
            slo: The objective to suppose; None takes the model's.

        Raises:
            UnknownModelError: No such model here.
            BackendUnavailableError: The agent has not answered yet, so what is possible is not known.
        """
        return await self._of(model).what_if(workload, slo)

    async def set_config(self, model: str, config: ServingConfig) -> Decision:
        """Put a person's choice in force, in every mode, and return when requests are served by it.

        It counts as a switch but is refused by no guardrail. The next window is compared with the one before, and
        the outcome is written down, but a person's choice is never rolled back. In ``auto`` the policy may move on
        after ``min_dwell_seconds``; to keep a choice, change the mode or pin the knobs.

        Raises:
            UnknownModelError: No such model here.
            InfeasibleConfigError: The node cannot run it; names the knob.
            StaleGenerationError: Somebody else wrote a configuration in the meantime; look and ask again.
            ApplyTimeoutError: Not ready in time; the old configuration has kept serving.
            BackendUnavailableError: No answer from the agent; the outcome is unknown until the next status.
            StoreError: The history cannot be written; nothing was changed.
        """
        return await self._of(model).set_config(config)

    async def rollback(self, model: str) -> Decision:
        """Return to the last known good configuration, in every mode, because a person asked for it.

        Where it is in force already, nothing is done and the decision says so.

        Raises:
            UnknownModelError: No such model here.
            InvalidValueError: No configuration has met the objective yet (field ``last_known_good``).
            StaleGenerationError, ApplyTimeoutError, BackendUnavailableError, StoreError: as for :meth:`set_config`.
        """
        return await self._of(model).rollback()

    def ready(self) -> tuple[bool, dict[str, str]]:
        """Whether the service can do its work, and one line a model.

        A loop is ready once it has read its history and asked its agent. An agent that does not answer is told in its
        line but does not make the service unready: restarting the service would not help.
        """
        loops = self._loops.items()
        running = bool(self._tasks) and not any(task.done() for task in self._tasks)
        return running and all(loop.ready for _, loop in loops), {
            name: (loop.status().problem or "ok") if loop.ready else loop.status().problem or "starting"
            for name, loop in loops
        }

    def _of(self, model: str) -> ModelLoop:
        try:
            return self._loops[model]
        except KeyError:
            raise UnknownModelError(model) from None

    async def _prune(self) -> None:
        """Drop more history than is to be kept, now and every hour, and keep the database once nobody else does."""
        while True:
            # The service that was there before may have ended after this one began.
            await self._succeed()
            try:
                for model in self._loops:
                    # A few rows at a time, so that loops need not wait to write, nor a stop for the end.
                    while await self._workers.store(
                        self._store.prune,
                        model,
                        keep_observations=self._settings.keep_observations,
                        keep_holds=self._settings.keep_holds,
                        keep_decisions=self._settings.keep_decisions,
                        max_age_seconds=self._settings.keep_days * 86_400,
                        learns_from=self._settings.replay_limit,
                    ):
                        await self._clock.sleep(PRUNE_PAUSE_SECONDS)
            except StoreError as error:
                log.warning("history not pruned", error=str(error))
            await self._clock.sleep(PRUNE_INTERVAL_SECONDS)
