"""Outlook: puts together what the guardrails look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.control.error_budget import BudgetState, Burn
from service.control.judge import Judgement, same_load
from service.control.learner import Learner
from service.control.safe_region import SafeRegion
from service.control.settings import LoopSettings
from service.control.situation import BUDGET_SECONDS, Permission, Situation
from service.control.track import Track
from service.domain.clock import Clock
from service.domain.serving_config import ServingConfig


class Outlook:
    """Describes one model's situation. Not safe for concurrent use.

    Args:
        learner: Asked what the last known good would do now.
        track: The loop's memory.
        settings: Limits.
        clock: Time.
        permission: What a person allows at this moment.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        track: Track,
        settings: LoopSettings,
        clock: Clock,
        permission: Callable[[], Permission],
    ) -> None:
        self._learner = learner
        self._track = track
        self._settings = settings
        self._clock = clock
        self._permission = permission

    def budget(self) -> BudgetState:
        """The error budget now."""
        return self._track.budget.state(self._track.slo, self._clock.monotonic())

    async def situation(
        self, judgement: Judgement, incumbent: ServingConfig, *, load_changed: bool, first_violation: bool
    ) -> Situation:
        """As it is right after a window was judged."""
        track, now, permission = self._track, self._clock.monotonic(), self._permission()
        budget = self.budget()
        if budget.burn is Burn.FAST:
            track.frozen_until = now + self._settings.freeze_seconds
        frozen = max(track.frozen_until - now, 0.0)
        careful = frozen > 0 or budget.burn is not Burn.HEALTHY
        return Situation(
            settings=self._settings,
            now=now,
            mode=permission.mode,
            killed=permission.killed,
            maintenance=permission.maintenance,
            learning=permission.learning,
            slo=track.slo,
            incumbent=incumbent,
            judgement=judgement,
            load_changed=load_changed,
            first_violation=first_violation,
            within_bounds=self._learner.admits(incumbent),
            switched_at=track.switched_at,
            asked_at=track.asked_at,
            answer=track.answer,
            chosen_by_user=track.chosen_by_user,
            switches=tuple(track.switches),
            quarantine=dict(track.quarantine),
            budget=budget,
            frozen_seconds=frozen,
            way_back=careful and not judgement.met and await self._way_back(judgement, incumbent),
            spike_seconds=sum(cost for at, cost in track.spikes if at > now - BUDGET_SECONDS),
            region=self._region(),
            measured=self._measured(judgement, now),
        )

    def renewed(self, situation: Situation) -> Situation:
        """The same after some thinking, in which time has passed and a person may have changed their mind."""
        permission = self._permission()
        return replace(
            situation,
            now=self._clock.monotonic(),
            mode=permission.mode,
            killed=permission.killed,
            maintenance=permission.maintenance,
            learning=permission.learning,
        )

    async def _way_back(self, judgement: Judgement, incumbent: ServingConfig) -> bool:
        """Whether the last known good is another configuration, may run, and is expected to meet the objective now."""
        track, window = self._track, judgement.window
        good = track.last_known_good
        if good is None or good == incumbent or good in track.quarantine or not self._learner.admits(good):
            return False
        if track.way_back.closed(good, self._clock.monotonic()):
            return False
        if track.good_failed is not None and same_load(track.good_failed, window, self._settings):
            return False
        known = self._measured(judgement, self._clock.monotonic()).get(good)
        if known is not None:
            return known.met
        tail = (await self._learner.predict(window.workload, good, track.slo)).predicted_tail
        return tail is not None and tail.value <= track.slo.bound_seconds

    def _measured(self, judgement: Judgement, now: float) -> dict[ServingConfig, Judgement]:
        return {
            config: known
            for config, (at, known) in self._track.measured.items()
            if at > now - BUDGET_SECONDS and same_load(known.window, judgement.window, self._settings)
        }

    def _region(self) -> SafeRegion | None:
        space, good = self._learner.space, self._track.last_known_good
        if space is None or good is None:
            return None
        return SafeRegion(space, good, self._settings.safety_factor)
