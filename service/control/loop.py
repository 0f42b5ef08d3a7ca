"""ModelLoop: observe → judge → decide → apply → verify, for one model, for ever.

Two tasks share one event loop. ``_watch`` reads metrics at a steady pace, whatever else happens, so that a slow agent
leaves no gap in what is known. ``_steer`` does one round at a time: look at the agent when it is due, judge the window
when it is ready, and let the pilot act on it. What a person commands runs between two rounds, under the same lock.
Whatever fails, the loop holds, says so, and tries again later.
"""

from __future__ import annotations

import asyncio

import structlog

from service.backends.protocol import Backend
from service.control.actuator import Actuator
from service.control.board import Board
from service.control.commands import Commands
from service.control.error_budget import ErrorBudget
from service.control.journal import Journal
from service.control.judge import NotYet, judge
from service.control.kill_switch import KillSwitch
from service.control.learner import Learner, PolicyFactory
from service.control.maintenance import MaintenanceWindow
from service.control.memory import Memory
from service.control.node import Node
from service.control.pilot import Pilot
from service.control.recall import Recall
from service.control.refusals import Refusals
from service.control.settings import LoopSettings, ModelSettings
from service.control.sight import Sight
from service.control.situation import Permission, learning_left
from service.control.status import ModelStatus
from service.control.track import Track
from service.control.trials import Trials
from service.control.workers import Workers
from service.domain.backoff import Backoff
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Mode, Reason, Recommendation
from service.domain.errors import InvalidValueError, StoreError, TelemetryError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.store.store import Store
from service.telemetry.own_metrics import ControlMetrics
from service.telemetry.scraper import Scraper

log = structlog.get_logger(__name__)

#: Holds that follow from the last judgement and so stand until the next, while windows fill.
_STANDING = frozenset(
    {
        Reason.DWELL,
        Reason.INCUMBENT_BEST,
        Reason.SWITCH_BUDGET_SPENT,
        Reason.MODE_OFF,
        Reason.APPLY_FAILED,
        Reason.INFEASIBLE,
        Reason.WORSE_THAN_BEFORE,
        Reason.BUDGET_BURNING,
        Reason.FROZEN,
        Reason.UNSAFE,
        Reason.KILL_SWITCH,
        Reason.MAINTENANCE,
        Reason.LEARNING_PERIOD,
        Reason.LEASE_HELD,
        Reason.CANARY_WORSE,
    }
)


class ModelLoop:
    """Keeps one model inside its objective.

    Args:
        model: The model and where it is.
        settings: How to watch, judge and act.
        backend: Where configurations go.
        scraper: Where metrics come from.
        store: The history.
        policy_factory: Makes the policy once the node has said what it can do.
        workers: Threads for the policy and the history.
        kill_switch: Of all models.
        clock: Time.
        metrics: Our own metrics.
    """

    def __init__(
        self,
        model: ModelSettings,
        settings: LoopSettings,
        *,
        backend: Backend,
        scraper: Scraper,
        store: Store,
        policy_factory: PolicyFactory,
        workers: Workers,
        kill_switch: KillSwitch,
        clock: Clock,
        metrics: ControlMetrics,
    ) -> None:
        self._name = model.name
        self._settings = settings
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._workers = workers
        self._kill_switch = kill_switch
        self._maintenance = tuple(MaintenanceWindow.parse(text) for text in model.maintenance)
        self._track = Track(
            mode=model.mode,
            slo=model.slo.to_slo(),
            budget=ErrorBudget(settings.error_budget_period_seconds, settings.burn_window_scale),
            waiting_since=clock.monotonic(),
        )
        self._memory = Memory(model.name, self._track, store, clock, workers)
        self._recall = Recall(model.name, store, settings, clock, workers)
        self._sight = Sight(model.name, scraper, settings, clock, metrics)
        self._journal = Journal(model.name, store, settings, clock, metrics, workers)
        self._node = Node(model.name, backend, settings, clock, metrics)
        self._learner = Learner(policy_factory, model.bounds, model.pinned, workers)
        refusals = Refusals(self._track, settings, clock)
        self._actuator = Actuator(
            model.name,
            node=self._node,
            journal=self._journal,
            track=self._track,
            windows=self._sight.windows,
            spikes=self._sight.spikes,
            permission=self._permission,
            refusals=refusals,
            clock=clock,
            metrics=metrics,
        )
        self._pilot = Pilot(
            model.name,
            node=self._node,
            actuator=self._actuator,
            learner=self._learner,
            track=self._track,
            memory=self._memory,
            spikes=self._sight.spikes,
            permission=self._permission,
            store=store,
            settings=settings,
            clock=clock,
            metrics=metrics,
            workers=workers,
        )
        self._trials = Trials(
            node=self._node,
            actuator=self._actuator,
            refusals=refusals,
            track=self._track,
            sight=self._sight,
            permission=self._permission,
            settings=settings,
            clock=clock,
        )
        self._commands = Commands(
            node=self._node, actuator=self._actuator, journal=self._journal, track=self._track, clock=clock
        )
        self._board = Board(
            model.name,
            track=self._track,
            node=self._node,
            sight=self._sight,
            journal=self._journal,
            learner=self._learner,
            permission=self._permission,
            settings=settings,
            clock=clock,
            metrics=metrics,
        )
        self._lock = asyncio.Lock()
        self._backoff = Backoff(settings.scrape_interval_seconds, settings.max_backoff_seconds)
        self._resumed = False
        self._judging = False
        self._failed_judging = False
        self._problem: str | None = None

    async def run(self) -> None:
        """Watch and steer until cancelled. Never raises anything else."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name=f"watch:{self._name}")
            tasks.create_task(self._steer(), name=f"steer:{self._name}")

    async def _watch(self) -> None:
        while True:
            try:
                await self._sight.look()
            except Exception:
                log.exception("reading metrics failed unexpectedly", model=self._name)
            await self._clock.sleep(self._settings.scrape_interval_seconds)

    async def _steer(self) -> None:
        while True:
            if not self._backoff.waiting(self._clock.monotonic()):
                await self._round_safely()
            await self._clock.sleep(self._settings.scrape_interval_seconds)

    async def _round_safely(self) -> None:
        try:
            async with self._lock:
                judged = await self._round()
                await self._memory.keep()
        except StoreError as error:
            self._fail(Reason.STORE_UNAVAILABLE, f"the history cannot be used, so nothing is changed: {error}")
            log.error("history failed", model=self._name, error=str(error))
        except Exception as error:
            why = f"internal error, so nothing is changed: {type(error).__name__}: {error}"
            self._fail(Reason.INTERNAL_ERROR, why)
            log.exception("round failed unexpectedly", model=self._name)
        else:
            self._backoff.succeeded()
            if judged or not self._failed_judging:
                self._problem = None
            self._metrics.loop_succeeded(self._name, self._clock.time())
        self._board.tell_metrics()

    def _fail(self, reason: Reason, problem: str) -> None:
        # What failed while a window was judged is not mended by a round in which none was.
        self._problem, self._failed_judging = problem, self._judging
        self._journal.trouble(self._actuator.decision(Action.HOLD, reason, problem))
        self._backoff.failed(self._clock.monotonic())

    # One round

    async def _round(self) -> bool:
        """Returns whether a window was judged and acted on."""
        self._judging = False
        await self._resume()
        await self._journal.flush()
        self._track.release_quarantine(self._clock.monotonic())
        if self._node.due and not await self._actuator.look():
            return False
        if not await self._know_what_is_possible():
            return False
        if await self._trials.attend():
            return False
        if (missing := self._sight.missing) is not None:
            self._track.renew_probation(self._clock.monotonic())
            await self._actuator.hold(Reason.METRICS_MISSING, missing)
            return False
        windows, track = self._sight.windows, self._track
        waited = self._clock.monotonic() - track.waiting_since
        judgement = judge(windows.current(), windows.stationarity(), track.slo, self._settings, waited_seconds=waited)
        if isinstance(judgement, NotYet):
            await self._wait(judgement)
            return False
        self._judging = True
        windows.start_next()
        track.waiting_since = self._clock.monotonic()
        incumbent = await self._still_in_force()
        if incumbent is not None:
            await self._pilot.act_on(judgement, incumbent)
        return incumbent is not None

    async def _resume(self) -> None:
        """Read once what an earlier run left behind."""
        if self._resumed:
            return
        await self._kill_switch.resume()
        newest, remembered = await self._recall.fill(self._track)
        self._journal.resume(newest, remembered)
        self._actuator.resume(remembered)
        self._metrics.objective(self._name, self._track.slo)
        self._resumed = True

    def _permission(self) -> Permission:
        """What a person allows at this moment."""
        track, now = self._track, self._clock.time()
        return Permission(
            mode=track.mode,
            killed=self._kill_switch.on,
            maintenance=next((window.text for window in self._maintenance if window.open_at(now)), None),
            learning=self._learning_left(),
        )

    def _learning_left(self) -> str | None:
        track = self._track
        if track.learnt:
            return None
        since = track.first_window_at
        watched = None if since is None else self._clock.monotonic() - since
        left = learning_left(self._settings, track.windows_seen, watched)
        track.learnt = left is None
        return left

    async def _know_what_is_possible(self) -> bool:
        state = self._node.state
        if state is None:
            return False
        if self._learner.fits(state.support, state.config):
            return True
        limit = self._settings.replay_limit
        try:
            await self._learner.prepare(
                state.support, state.config, lambda: self._store.replay(self._name, limit=limit)
            )
        except InvalidValueError as error:
            await self._actuator.hold(Reason.INFEASIBLE, f"bounds and pins leave nothing to choose from: {error}")
            return False
        return True

    async def _wait(self, not_yet: NotYet) -> None:
        if not_yet.rebase:
            self._sight.windows.rebase_to_recent()
        probation, standing = self._track.probation, self._journal.hold
        waited = self._clock.monotonic() - probation.since if probation else 0.0
        if waited > self._settings.verify_timeout_seconds:
            self._track.probation = None
            await self._actuator.hold(not_yet.reason, f"kept without verification: {not_yet.explanation}")
        elif not_yet.reason is not Reason.WINDOW_NOT_READY or standing is None or standing.reason not in _STANDING:
            await self._actuator.hold(not_yet.reason, not_yet.explanation)

    async def _still_in_force(self) -> ServingConfig | None:
        """What the window was measured under; None when that is not certain.

        The agent is asked, for a window must not be held against a configuration that somebody changed meanwhile.
        """
        before = self._node.state
        if before is None or not await self._actuator.look():
            return None
        now = self._node.state
        return now.config if now is not None and now.generation == before.generation else None

    # What is asked from outside

    @property
    def ready(self) -> bool:
        """Whether the history has been read and the agent asked."""
        return self._resumed and self._node.looked

    def status(self) -> ModelStatus:
        """Everything about the model now. Never waits."""
        return self._board.status(self._problem)

    async def set_slo(self, slo: Slo) -> None:
        """Change the objective; see Supervisor."""
        await self._resume_first()
        await self._workers.store(self._store.put_slo, self._name, slo)
        track = self._track
        track.slo = slo
        # What was judged was judged by another objective; the windows themselves can be counted again.
        track.judged = track.good_failed = None
        track.measured, track.frozen_until = {}, 0.0
        self._metrics.objective(self._name, slo)
        try:
            track.budget = await self._recall.budget(slo)
        except StoreError as error:
            track.budget = ErrorBudget(self._settings.error_budget_period_seconds, self._settings.burn_window_scale)
            log.warning("the error budget begins anew", model=self._name, error=str(error))

    async def set_mode(self, mode: Mode) -> None:
        """Change the mode; see Supervisor."""
        await self._resume_first()
        await self._workers.store(self._store.put_mode, self._name, mode)
        self._track.mode = mode

    async def _resume_first(self) -> None:
        """What is remembered must not overwrite what a person says now."""
        if not self._resumed:
            async with self._lock:
                await self._resume()

    async def recommendation(self) -> Recommendation:
        """What the policy would choose now; see Supervisor."""
        workload = self._board.workload()
        if workload is None:
            raise TelemetryError(
                f"the load of {self._name!r} is not known yet: {self._sight.missing or 'just started'}"
            )
        return await self.what_if(workload, None)

    async def what_if(self, workload: Workload, slo: Slo | None) -> Recommendation:
        """What the policy would choose under another load; see Supervisor."""
        config, objective = self._commands.known().config, slo or self._track.slo
        return await self._learner.suggest(workload, config, objective, explore=True)

    async def set_config(self, config: ServingConfig) -> Decision:
        """Put a person's choice in force; see Supervisor."""
        async with self._lock:
            await self._resume()
            return await self._commands.set_config(config)

    async def rollback(self) -> Decision:
        """Return to the last known good; see Supervisor."""
        async with self._lock:
            await self._resume()
            return await self._commands.rollback()

    async def skip_learning(self) -> Decision:
        """End the learning period; see Supervisor."""
        async with self._lock:
            await self._resume()
            decision = await self._commands.skip_learning()
            await self._memory.keep()
            return decision
