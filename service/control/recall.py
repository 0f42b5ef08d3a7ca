"""Recall: what a start takes over from the history, so that no guardrail forgets by being restarted.

Times in the history are Unix time; the loop's are monotonic. They are brought together once, here, and whatever lies in
the future of the clock counts as now, so that a clock that jumps neither frees nor blocks anything for long.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.control.error_budget import LONGEST_STRETCH_SECONDS, ErrorBudget
from service.control.judge import conclude
from service.control.memory import restore
from service.control.probation import Probation
from service.control.settings import LoopSettings
from service.control.situation import BUDGET_SECONDS
from service.control.track import Track
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Action, Decision, Mode, Reason
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.store.records import StoredState
from service.store.store import Store
from service.store.tally import Tally, hour_of

#: Most windows that are read: six hours of one each five seconds, and some. Older ones count by the tallies.
WINDOWS = 5000

#: Observations read at once; other models' reads come in between.
PAGE = 250

#: What counts against the budget of switches.
SWITCHES = frozenset({Action.APPLY, Action.ROLLBACK, Action.MANUAL})

_DOINGS = frozenset(Action) - {Action.HOLD}


@dataclass(frozen=True, slots=True)
class _Past:
    """What the error budget wants of a stored window, or of all windows of an hour."""

    ended_at: float
    seconds: float
    requests: int
    violation_ratio: float


@dataclass(frozen=True, slots=True)
class _Recent:
    """A window that still says something of the present."""

    ended_at: float
    config: ServingConfig
    window: Window


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
        windows, first_at = await read(self._store.seen, model)
        slo = (remembered.slo if remembered else None) or track.slo
        past, recent = await self._past(slo, first_at)
        if remembered is not None:
            track.slo = slo
            track.mode = remembered.mode or track.mode
            track.last_known_good = remembered.last_known_good
        if remembered is not None and remembered.guards is not None:
            restore(track, remembered.guards, self._settings, self._clock)
        self._switched(track, switches)
        track.budget = self._budget(past)
        self._judged(track, recent, remembered.incumbent if remembered else None)
        track.windows_seen = windows
        track.first_window_at = None if first_at is None else self._monotonic(first_at)
        doing = newest[0] if newest else None
        track.probation = self._unverified(doing, remembered, track)
        return doing, remembered

    async def budget(self, slo: Slo) -> ErrorBudget:
        """The error budget of an objective, from what is remembered of its period.

        Raises:
            StoreError: The history cannot be read.
        """
        _, first_at = await self._workers.store(self._store.seen, self._model)
        past, _ = await self._past(slo, first_at)
        return self._budget(past)

    def _switched(self, track: Track, switches: list[Decision]) -> None:
        """Count the hour's switches. The newest may be in the history although the service died before it was kept."""
        track.spend_switches((self._monotonic(one.decided_at) for one in switches), self._clock.monotonic())
        track.learnt |= any(one.action is Action.APPLY and one.mode is Mode.AUTO for one in switches)
        if not switches:
            return
        newest = switches[0]
        at = self._monotonic(newest.decided_at)
        if track.switched_at is None or at >= track.switched_at:
            track.switched_at = at
            track.chosen_by_user = newest.action is Action.MANUAL or newest.reason is Reason.USER

    def _judged(self, track: Track, recent: list[_Recent], incumbent: ServingConfig | None) -> None:
        """Judge again what was measured within the hour; the newest window only if it is of what is in force."""
        for one in recent:
            judgement = conclude(one.window, track.slo, self._settings)
            track.note_judgement(one.config, judgement, self._monotonic(one.ended_at))
            track.judged = judgement if one.config == incumbent else None

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

    async def _past(self, slo: Slo, first_at: float | None) -> tuple[list[_Past], list[_Recent]]:
        """What is remembered of the error budget's period, and the windows of the last hour; both oldest first.

        Windows one by one as far back as burn rates are taken, and what is older hour by hour. It begins with the
        moment from which on anything is known, before the period or in it.
        """
        now, read = self._clock.time(), self._workers.store
        oldest = now - self._settings.error_budget_period_seconds
        fine = now - max(LONGEST_STRETCH_SECONDS * self._settings.burn_window_scale, BUDGET_SECONDS)
        windows: list[_Past] = []
        recent: list[_Recent] = []
        before: int | None = None

        def page(before_id: int | None) -> int | None:
            stored = self._store.observations(self._model, limit=PAGE, before_id=before_id)
            for one in stored:
                window = one.window
                requests = window.succeeded + window.rejected + window.failed
                ratio = window.violation_ratio(slo)
                windows.append(_Past(one.observed_at, window.duration_seconds, requests, ratio))
                if one.observed_at > now - BUDGET_SECONDS:
                    recent.append(_Recent(one.observed_at, one.config, window))
            return stored[-1].id if len(stored) == PAGE and hour_of(stored[-1].observed_at) >= hour_of(fine) else None

        while len(windows) < WINDOWS:
            before = await read(page, before)
            if before is None:
                break
        hours = await read(lambda: [_hour(tally, slo) for tally in self._store.tallies(self._model, since=oldest)])
        begun = [] if first_at is None else [_Past(first_at, 0.0, 0, 0.0)]
        # By time, not as written: a clock may have been set back in between.
        return (
            sorted(begun + _joined(windows, dict(hours)), key=lambda one: min(one.ended_at, now)),
            sorted(recent, key=lambda one: min(one.ended_at, now)),
        )

    def _monotonic(self, unix_seconds: float) -> float:
        now = self._clock.monotonic()
        return min(unix_seconds - (self._clock.time() - now), now)


def _hour(tally: Tally, slo: Slo) -> tuple[int, _Past]:
    seconds = tally.ended_at - tally.began_at
    return tally.hour, _Past(tally.ended_at, seconds, tally.requests, tally.violation_ratio(slo))


def _joined(windows: list[_Past], hours: dict[int, _Past]) -> list[_Past]:
    """The windows of each hour of which all were read, else the hour as a whole; nothing counts twice."""
    read: dict[int, list[_Past]] = {}
    for one in windows:
        read.setdefault(hour_of(one.ended_at), []).append(one)
    whole = {
        hour: of_it
        for hour, of_it in read.items()
        if hour not in hours or sum(one.requests for one in of_it) >= hours[hour].requests
    }
    return [one for of_it in whole.values() for one in of_it] + [hours[hour] for hour in hours if hour not in whole]
