"""Journal: what one model's loop remembers, and how often it repeats itself."""

from __future__ import annotations

from collections import deque

from service.control.settings import LoopSettings
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Reason
from service.domain.serving_config import ServingConfig
from service.store.records import StoredState
from service.store.store import Store
from service.telemetry.own_metrics import ControlMetrics

#: Reasons for doing nothing that take turns in the best of health: each is written at most once in
#: ``hold_repeat_seconds``. All others are written whenever they are new.
ROUTINE = frozenset(
    {
        Reason.WINDOW_NOT_READY,
        Reason.NOT_STATIONARY,
        Reason.NO_TRAFFIC,
        Reason.DWELL,
        Reason.INCUMBENT_BEST,
        Reason.MODE_OFF,
        Reason.BUDGET_BURNING,
        Reason.FROZEN,
        Reason.UNSAFE,
        Reason.KILL_SWITCH,
        Reason.MAINTENANCE,
    }
)

#: What changes nothing and may repeat itself.
REPEATABLE = frozenset({Action.HOLD, Action.RECOMMEND})


class Journal:
    """Writes decisions and state to the store, in worker threads.

    What was done is never forgotten: when the store fails, the decision waits here and every later write begins with
    it. The caller does nothing new while that is so, which bounds what waits.

    Args:
        model: Name of the model.
        store: The history.
        settings: How often a hold is repeated.
        clock: Time.
        metrics: Told of every decision.
        workers: Threads to write in.
    """

    def __init__(
        self, model: str, store: Store, settings: LoopSettings, clock: Clock, metrics: ControlMetrics, workers: Workers
    ) -> None:
        self._model = model
        self._store = store
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._workers = workers
        self._unwritten: deque[Decision] = deque()
        self._written_at: dict[tuple[Action, Reason], float] = {}
        self._recommended: ServingConfig | None = None
        self._incumbent: tuple[ServingConfig, int] | None = None
        self._last_known_good: ServingConfig | None = None
        self.last: Decision | None = None
        """The newest decision that did or recommended something."""
        self.hold: Decision | None = None
        """Why nothing is being done; None right after something was."""

    def resume(self, last: Decision | None, state: StoredState | None) -> None:
        """Take over what an earlier run wrote."""
        self.last = last
        if state is not None:
            if state.incumbent is not None and state.generation is not None:
                self._incumbent = (state.incumbent, state.generation)
            self._last_known_good = state.last_known_good

    async def record(self, decision: Decision) -> Decision:
        """Remember a decision; one that changes nothing and says nothing new is only shown, not written.

        Returns:
            The decision, with its id where it was written.

        Raises:
            StoreError: It could not be written. One that changed something is kept and written later.
        """
        news = self._is_news(decision)
        self._show(decision)
        if not news:
            return decision
        self._metrics.decided(decision)
        if decision.action in REPEATABLE:
            await self.flush()
            stored = await self._workers.store(self._store.add_decision, decision)
        else:
            self._unwritten.append(decision)
            stored = await self.flush() or decision
        self._written_at[_key(decision)] = self._clock.monotonic()
        if decision.action is Action.RECOMMEND and decision.recommendation:
            self._recommended = decision.recommendation.config
        self._show(stored)
        return stored

    def _show(self, decision: Decision) -> None:
        if decision.action is Action.HOLD:
            self.hold = decision
        else:
            self.last, self.hold = decision, None

    def trouble(self, decision: Decision) -> None:
        """Show what keeps the loop from working. Never fails: it is written, once, when something can be again."""
        again = self.hold is not None and _key(self.hold) == _key(decision)
        self._show(decision)
        if again:
            return
        self._metrics.decided(decision)
        if all(_key(waiting) != _key(decision) for waiting in self._unwritten):
            self._unwritten.append(decision)

    async def flush(self) -> Decision | None:
        """Write what is waiting; returns the newest of it, with its id.

        Raises:
            StoreError: The store still fails.
        """
        stored = None
        while self._unwritten:
            stored = await self._workers.store(self._store.add_decision, self._unwritten[0])
            self._unwritten.popleft()
        return stored

    async def intend(self, decision: Decision) -> None:
        """Write down a change before it is ordered, so that a start finds out what became of it.

        Raises:
            StoreError: It could not be written.
        """
        await self._workers.store(self._store.put_intent, decision)

    async def remember(self, incumbent: tuple[ServingConfig, int], last_known_good: ServingConfig | None) -> None:
        """Write what is in force and what was last good, where that is news.

        Raises:
            StoreError: It could not be written; the next call tries again.
        """
        if incumbent != self._incumbent:
            await self.prove_writable(incumbent)
        if last_known_good is not None and last_known_good != self._last_known_good:
            await self._workers.store(self._store.put_last_known_good, self._model, last_known_good)
            self._last_known_good = last_known_good

    async def prove_writable(self, incumbent: tuple[ServingConfig, int]) -> None:
        """Write what is in force even if it is no news, so that nothing is done that could not be remembered.

        Raises:
            StoreError: It could not be written.
        """
        await self.flush()
        await self._workers.store(self._store.put_incumbent, self._model, *incumbent)
        self._incumbent = incumbent

    def _is_news(self, decision: Decision) -> bool:
        if decision.action not in REPEATABLE:
            return True
        written = self._written_at.get(_key(decision))
        if written is None or self._clock.monotonic() - written >= self._settings.hold_repeat_seconds:
            return True
        if decision.recommendation is not None and decision.action is Action.RECOMMEND:
            return decision.recommendation.config != self._recommended
        return decision.reason not in ROUTINE and (self.hold is None or _key(self.hold) != _key(decision))


def _key(decision: Decision) -> tuple[Action, Reason]:
    return decision.action, decision.reason
