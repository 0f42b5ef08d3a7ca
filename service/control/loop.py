"""ModelLoop: observe → judge → decide → apply → verify, for one model, for ever.

Two tasks share one event loop. ``_watch`` reads metrics at a steady pace, whatever else happens, so that a slow agent
leaves no gap in what is known. ``_steer`` does one round at a time: look at the agent when it is due, judge the window
when it is ready, and let the pilot act on it. What a person commands runs between two rounds, under the same lock.
Whatever fails, the loop holds, says so, and tries again later.
"""

from __future__ import annotations

import asyncio

import structlog

from service.backends.protocol import Backend, BackendState
from service.control.actuator import Actuator
from service.control.backoff import Backoff
from service.control.feasible import check_supported
from service.control.guardrails import switches_left
from service.control.journal import Journal
from service.control.judge import NotYet, judge
from service.control.learner import Learner, PolicyFactory
from service.control.node import Node, Order
from service.control.pilot import Pilot
from service.control.probation import Probation
from service.control.settings import LoopSettings, ModelSettings
from service.control.sight import Sight
from service.control.status import ModelStatus
from service.control.track import Track
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Mode, Reason, Recommendation
from service.domain.errors import BackendUnavailableError, InvalidValueError, StoreError, TelemetryError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
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
    }
)

#: What counts against the budget of switches.
_SWITCHES = frozenset({Action.APPLY, Action.ROLLBACK, Action.MANUAL})


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
        clock: Clock,
        metrics: ControlMetrics,
    ) -> None:
        self._name = model.name
        self._settings = settings
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._workers = workers
        self._track = Track(mode=model.mode, slo=model.slo.to_slo(), waiting_since=clock.monotonic())
        self._sight = Sight(model.name, scraper, settings, clock, metrics)
        self._journal = Journal(model.name, store, settings, clock, metrics, workers)
        self._node = Node(model.name, backend, settings, clock, metrics)
        self._learner = Learner(policy_factory, model.bounds, model.pinned, workers)
        self._actuator = Actuator(
            model.name,
            node=self._node,
            journal=self._journal,
            track=self._track,
            windows=self._sight.windows,
            settings=settings,
            clock=clock,
            metrics=metrics,
        )
        self._pilot = Pilot(
            model.name,
            node=self._node,
            actuator=self._actuator,
            learner=self._learner,
            track=self._track,
            store=store,
            settings=settings,
            clock=clock,
            metrics=metrics,
            workers=workers,
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
        except StoreError as error:
            self._fail(f"the history cannot be used, so nothing is changed: {error}")
            log.error("history failed", model=self._name, error=str(error))
        except Exception as error:
            self._fail(f"internal error, so nothing is changed: {type(error).__name__}: {error}")
            log.exception("round failed unexpectedly", model=self._name)
        else:
            self._backoff.succeeded()
            if judged or not self._failed_judging:
                self._problem = None
            self._metrics.loop_succeeded(self._name, self._clock.time())
        self._tell_standing()

    def _tell_standing(self) -> None:
        age, hold = self._sight.age_seconds, self._journal.hold
        self._metrics.standing(
            self._name,
            mode=self._track.mode,
            hold=hold.reason if hold else None,
            agent_reachable=self._node.reachable,
            read_at=None if age is None else self._clock.time() - age,
            switches_left=switches_left(tuple(self._track.switches), self._clock.monotonic(), self._settings),
            quarantined=len(self._track.quarantine),
        )

    def _fail(self, problem: str) -> None:
        # What failed while a window was judged is not mended by a round in which none was.
        self._problem, self._failed_judging = problem, self._judging
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
        if (missing := self._sight.missing) is not None:
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
        track, limit = self._track, max(self._settings.max_switches_per_hour, 1)
        remembered = await self._workers.store(self._store.state, self._name)
        doings = frozenset(Action) - {Action.HOLD}
        newest = await self._workers.store(self._store.decisions, self._name, limit=1, actions=doings)
        switches = await self._workers.store(self._store.decisions, self._name, limit=limit, actions=_SWITCHES)
        if remembered is not None:
            track.slo = remembered.slo or track.slo
            track.mode = remembered.mode or track.mode
            track.last_known_good = remembered.last_known_good
        now = self._clock.monotonic()
        since_epoch = self._clock.time() - now
        track.spend_switches((min(decision.decided_at - since_epoch, now) for decision in switches), now)
        self._journal.resume(newest[0] if newest else None, remembered)
        self._actuator.resume(remembered)
        self._metrics.objective(self._name, track.slo)
        self._resumed = True

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
        track, state, journal = self._track, self._node.state, self._journal
        window = self._sight.windows.current()
        space = self._learner.space
        hold = None if self._problem else journal.hold
        return ModelStatus(
            name=self._name,
            mode=track.mode,
            slo=track.slo,
            config=state.config if state else None,
            generation=state.generation if state else None,
            in_force_since=self._node.in_force_since,
            phase=state.phase if state else None,
            last_known_good=track.last_known_good,
            verifying=track.probation is not None,
            window=window,
            judged=track.judged.window if track.judged else None,
            verdict=track.judged.verdict if track.judged else None,
            workload=self._workload(window),
            recommendation=track.recommendation,
            last_decision=journal.last,
            hold_reason=hold.reason if hold else None,
            hold_explanation=hold.explanation if hold else None,
            agent_reachable=self._node.reachable,
            metrics_age_seconds=self._sight.age_seconds,
            observations=self._learner.observations,
            switches_left=switches_left(tuple(track.switches), self._clock.monotonic(), self._settings),
            support=state.support if state else None,
            knobs={knob.name: knob.values for knob in space.knobs} if space else {},
            server_kind=state.server_kind if state else "unknown",
            server_version=state.server_version if state else "unknown",
            problem=self._problem or self._node.error or self._sight.missing,
        )

    def _workload(self, window: Window | None) -> Workload | None:
        """The present load; from the window in progress once it is long enough to tell."""
        judged = self._track.judged
        if window is not None and (judged is None or window.duration_seconds >= self._settings.window_seconds / 2):
            return window.workload
        return judged.window.workload if judged else None

    async def set_slo(self, slo: Slo) -> None:
        """Change the objective; see Supervisor."""
        await self._resume_first()
        await self._workers.store(self._store.put_slo, self._name, slo)
        self._track.slo = slo
        self._track.judged = None
        self._metrics.objective(self._name, slo)

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
        workload = self._workload(self._sight.windows.current())
        if workload is None:
            raise TelemetryError(
                f"the load of {self._name!r} is not known yet: {self._sight.missing or 'just started'}"
            )
        return await self.what_if(workload, None)

    async def what_if(self, workload: Workload, slo: Slo | None) -> Recommendation:
        """What the policy would choose under another load; see Supervisor."""
        return await self._learner.suggest(workload, self._known().config, slo or self._track.slo, explore=True)

    async def set_config(self, config: ServingConfig) -> Decision:
        """Put a person's choice in force; see Supervisor."""
        async with self._lock:
            state = await self._look_before_command()
            check_supported(config, state.support, state.config)
            return await self._command(state, config, Action.MANUAL, f"a person set {config.describe()}")

    async def rollback(self) -> Decision:
        """Return to the last known good; see Supervisor."""
        async with self._lock:
            state = await self._look_before_command()
            good = self._track.last_known_good
            if good is None:
                raise InvalidValueError(
                    "last_known_good",
                    "there is none: no configuration has met the objective yet, so nothing was changed",
                )
            return await self._command(state, good, Action.ROLLBACK, f"a person asked to return to {good.describe()}")

    async def _look_before_command(self) -> BackendState:
        await self._resume()
        await self._journal.flush()
        await self._actuator.look(even_if_resting=True)
        return self._known()

    async def _command(self, state: BackendState, config: ServingConfig, action: Action, why: str) -> Decision:
        if config == state.config:
            return await self._actuator.hold(Reason.USER, f"{why}; it is in force already")
        judged = self._track.judged
        probation = Probation(
            config=config,
            since=self._clock.monotonic(),
            fallback=state.config,
            baseline=judged.window if judged else None,
            by_user=True,
        )
        order = Order(config=config, action=action, reason=Reason.USER, explanation=why, probation=probation)
        return await self._actuator.carry_out(order)

    def _known(self) -> BackendState:
        if self._node.state is None:
            raise BackendUnavailableError(self._node.error or "the agent has not been asked yet; try again in a moment")
        return self._node.state
