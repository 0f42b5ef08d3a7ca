"""Memory: what a model's guardrails must not forget by a restart and no row of the history tells.

It is kept in the store as one value, written whenever it has changed: before anything is ordered because of it, and at
the end of each round. Times in the store are Unix time; the loop's are monotonic.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.control.settings import LoopSettings
from service.control.situation import BUDGET_SECONDS, INFEASIBLE_SECONDS, Quarantine
from service.control.track import Track
from service.control.workers import Workers
from service.domain.clock import Clock
from service.domain.decision import Reason
from service.domain.serving_config import ServingConfig
from service.store.records import StoredGuards, StoredQuarantine
from service.store.store import Store


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of a loop's memory is written down; monotonic seconds."""

    frozen_until: float
    learnt: bool
    switched_at: float | None
    chosen_by_user: bool
    spikes: tuple[tuple[float, float], ...]
    quarantine: dict[ServingConfig, Quarantine]

    @classmethod
    def of(cls, track: Track) -> _Kept:
        return cls(
            track.frozen_until,
            track.learnt,
            track.switched_at,
            track.chosen_by_user,
            tuple(track.spikes),
            dict(track.quarantine),
        )


class Memory:
    """Keeps what the guardrails of one model remember.

    Args:
        model: Name of the model.
        track: The loop's memory.
        store: Where it is kept.
        clock: Time.
        workers: Threads to write in.
    """

    def __init__(self, model: str, track: Track, store: Store, clock: Clock, workers: Workers) -> None:
        self._model = model
        self._track = track
        self._store = store
        self._clock = clock
        self._workers = workers
        self._kept = _Kept.of(track)

    async def keep(self) -> None:
        """Write it down, where it has changed.

        Raises:
            StoreError: It could not be written; the next call tries again.
        """
        present = _Kept.of(self._track)
        if present != self._kept:
            guards = _stored(present, self._clock.time() - self._clock.monotonic())
            await self._workers.store(self._store.put_guards, self._model, guards)
            self._kept = present


def _stored(kept: _Kept, since_epoch: float) -> StoredGuards:
    return StoredGuards(
        frozen_until=kept.frozen_until + since_epoch if kept.frozen_until > 0 else 0.0,
        learnt=kept.learnt,
        switched_at=None if kept.switched_at is None else kept.switched_at + since_epoch,
        chosen_by_user=kept.chosen_by_user,
        spikes=tuple((at + since_epoch, seconds) for at, seconds in kept.spikes),
        quarantine=tuple(
            StoredQuarantine(
                config=config, until=held.until + since_epoch, reason=held.reason, explanation=held.explanation
            )
            for config, held in kept.quarantine.items()
        ),
    )


def restore(track: Track, guards: StoredGuards, settings: LoopSettings, clock: Clock) -> None:
    """Fill a loop's memory with what was kept.

    What has happened lies in the past and nothing lasts longer than it may, so that a clock that was set back neither
    frees nor blocks anything for long.
    """
    now = clock.monotonic()
    since_epoch = clock.time() - now
    track.frozen_until = min(guards.frozen_until - since_epoch, now + settings.freeze_seconds)
    track.learnt = guards.learnt
    track.switched_at = None if guards.switched_at is None else min(guards.switched_at - since_epoch, now)
    track.chosen_by_user = guards.chosen_by_user
    spikes = ((min(at - since_epoch, now), seconds) for at, seconds in guards.spikes)
    track.spikes = [(at, seconds) for at, seconds in spikes if at > now - BUDGET_SECONDS]
    for held in guards.quarantine:
        longest = INFEASIBLE_SECONDS if held.reason is Reason.INFEASIBLE else settings.quarantine_seconds
        until = min(held.until - since_epoch, now + longest)
        if until > now:
            track.put_in_quarantine(
                held.config, Quarantine(until=until, reason=held.reason, explanation=held.explanation)
            )
