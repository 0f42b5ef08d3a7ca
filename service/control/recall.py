"""Recall: what a start takes over from the history, so that no guardrail forgets by being restarted.

Times in the history are Unix time; the loop's are monotonic. They are brought together once, here, and whatever lies in
the future of the clock counts as now, so that a clock that jumps neither frees nor blocks anything for long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.control.error_budget import ErrorBudget
from service.control.judge import conclude
from service.control.probation import Probation
from service.control.settings import LoopSettings
from service.control.situation import BUDGET_SECONDS, Quarantine
from service.control.track import Track
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Mode, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.store.records import StoredState
from service.store.store import Store

#: Newest decisions in which spikes and quarantines are looked for: more than an hour holds.
DECISIONS = 300

#: Newest windows that the error budget is rebuilt from: the six hours of its longest burn rate, at one each five
#: seconds. Half a second's work; all that may be stored would hold up the start of a hundred models for minutes.
WINDOWS = 5000

#: Observations read at once; other models' reads come in between.
PAGE = 250

#: How long a configuration that the node could not run is not tried after a restart, seconds: it may have grown.
INFEASIBLE_SECONDS = 86_400.0

#: What counts against the budget of switches.
SWITCHES = frozenset({Action.APPLY, Action.ROLLBACK, Action.MANUAL})

_DOINGS = frozenset(Action) - {Action.HOLD}


@dataclass(frozen=True, slots=True)
class _Past:
    """What the guardrails want of a stored window."""

    ended_at: float
    seconds: float
    requests: int
    violation_ratio: float
    config: ServingConfig
    window: Window | None
    """Only where it still says something of the present: a history of windows takes room."""


class Recall:
    """Reads one model's history for its loop.

    Args:
        model: Name of the model.
        store: The history.
        settings: How much of it counts.
        clock: Time.
        workers: Threads to read in.
    """

    def __init__(self, model: str, store: Store, settings: LoopSettings, clock: Clock, workers: Workers) -> None:
        self._model = model
        self._store = store
        self._settings = settings
        self._clock = clock
        self._workers = workers

    async def fill(self, track: Track) -> tuple[Decision | None, StoredState | None]:
        """Fill a loop's memory.

        Returns:
            The newest decision that did or recommended something, and what is remembered besides the history.

        Raises:
            StoreError: The history cannot be read; the memory is left as it was.
        """
        read, model = self._workers.store, self._model
        remembered = await read(self._store.state, model)
        newest = await read(self._store.decisions, model, limit=1, actions=_DOINGS)
        limit = max(self._settings.max_switches_per_hour, 1)
        switches = await read(self._store.decisions, model, limit=limit, actions=SWITCHES)
        latest = await read(self._store.decisions, model, limit=DECISIONS)
        slo = (remembered.slo if remembered else None) or track.slo
        past = await self._windows(slo)
        if remembered is not None:
            track.slo = slo
            track.mode = remembered.mode or track.mode
            track.last_known_good = remembered.last_known_good
        self._spent(track, switches, latest)
        self._windows_into(track, past)
        doing = newest[0] if newest else None
        track.learnt = any(decision.action is Action.APPLY and decision.mode is Mode.AUTO for decision in switches)
        track.probation = self._unverified(doing, remembered, track)
        return doing, remembered

    async def budget(self, slo: Slo) -> ErrorBudget:
        """The error budget of an objective, from the windows that are remembered.

        Raises:
            StoreError: The history cannot be read.
        """
        return self._budget(await self._windows(slo))

    def _spent(self, track: Track, switches: list[Decision], latest: list[Decision]) -> None:
        now = self._clock.monotonic()
        track.spend_switches((self._monotonic(decision.decided_at) for decision in switches), now)
        if switches:
            track.switched_at = self._monotonic(switches[0].decided_at)
            track.chosen_by_user = switches[0].action is Action.MANUAL or switches[0].reason is Reason.USER
        for decision in reversed(latest):
            at = self._monotonic(decision.decided_at)
            cost = decision.inputs.get("spike_seconds")
            if isinstance(cost, int | float) and at > now - BUDGET_SECONDS:
                track.spikes.append((at, float(cost)))
            held = decision.inputs.get("quarantine")
            if isinstance(held, dict):
                self._hold(track, held, decision, at)
        track.release_quarantine(now)

    def _hold(self, track: Track, held: dict[str, Any], decision: Decision, at: float) -> None:
        seconds = held["seconds"]
        reason = Reason.INFEASIBLE if seconds is None else decision.reason
        until = at + (INFEASIBLE_SECONDS if seconds is None else seconds)
        track.put_in_quarantine(
            ServingConfig.from_dict(held["config"]),
            Quarantine(until=until, reason=reason, explanation=held["explanation"]),
            untaught=until > self._clock.monotonic(),
        )

    def _windows_into(self, track: Track, past: list[_Past]) -> None:
        track.budget = self._budget(past)
        for one in past:
            at = self._monotonic(one.ended_at)
            if one.window is not None:
                track.note_judgement(one.config, conclude(one.window, track.slo, self._settings), at)
        track.first_window_at = self._monotonic(past[0].ended_at) if past else None

    def _unverified(self, doing: Decision | None, remembered: StoredState | None, track: Track) -> Probation | None:
        """The probation of a switch that nobody lived to verify."""
        incumbent = remembered.incumbent if remembered else None
        if doing is None or doing.action not in (Action.APPLY, Action.MANUAL) or doing.config_before is None:
            return None
        if incumbent is None or doing.config_after != incumbent:
            return None
        before = track.measured.get(doing.config_before)
        return Probation(
            config=incumbent,
            since=self._clock.monotonic(),
            fallback=doing.config_before,
            baseline=before[1].window if before else None,
            by_user=doing.action is Action.MANUAL,
            promised=doing.recommendation.predicted_tail if doing.recommendation else None,
        )

    def _budget(self, past: list[_Past]) -> ErrorBudget:
        budget = ErrorBudget(self._settings.error_budget_period_seconds, self._settings.burn_window_scale)
        for one in past:
            budget.add(self._monotonic(one.ended_at), one.seconds, one.requests, one.violation_ratio)
        return budget

    async def _windows(self, slo: Slo) -> list[_Past]:
        """The newest windows of the error budget's period, oldest first."""
        now = self._clock.time()
        oldest, recent = now - self._settings.error_budget_period_seconds, now - BUDGET_SECONDS
        found: list[_Past] = []
        before: int | None = None

        def page(before_id: int | None) -> tuple[list[_Past], int | None]:
            stored = self._store.observations(self._model, limit=PAGE, before_id=before_id)
            last = stored[-1].id if len(stored) == PAGE and stored[-1].observed_at > oldest else None
            kept = [one for one in stored if one.observed_at > oldest]
            return [_past(one.observed_at, one.config, one.window, slo, recent) for one in kept], last

        while len(found) < WINDOWS:
            some, before = await self._workers.store(page, before)
            found += some
            if before is None:
                break
        # By time, not as written: a clock may have been set back in between.
        return sorted(found, key=lambda one: min(one.ended_at, now))

    def _monotonic(self, unix_seconds: float) -> float:
        now = self._clock.monotonic()
        return min(unix_seconds - (self._clock.time() - now), now)


def _past(ended_at: float, config: ServingConfig, window: Window, slo: Slo, recent: float) -> _Past:
    return _Past(
        ended_at=ended_at,
        seconds=window.duration_seconds,
        requests=window.succeeded + window.rejected + window.failed,
        violation_ratio=window.violation_ratio(slo),
        config=config,
        window=window if ended_at > recent else None,
    )
