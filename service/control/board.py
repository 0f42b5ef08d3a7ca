"""Board: what is told of one model's loop, as a status for people and as metrics. It only reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.control.journal import Journal
from service.control.learner import Learner
from service.control.node import Node
from service.control.settings import LoopSettings
from service.control.sight import Sight
from service.control.situation import BUDGET_SECONDS, Permission, switches_left
from service.control.status import ModelStatus
from service.control.track import Track
from service.domain.clock import Clock
from service.domain.window import Window
from service.domain.workload import Workload
from service.telemetry.own_metrics import ControlMetrics


class Board:
    """Shows a loop. Nothing here waits or fails.

    Args:
        model: Name of the model.
        track: The loop's memory.
        node: What is in force.
        sight: What is measured.
        journal: What was decided.
        learner: The policy.
        permission: What a person allows at this moment.
        settings: Limits.
        clock: Time.
        metrics: Where it is told.
    """

    def __init__(
        self,
        model: str,
        *,
        track: Track,
        node: Node,
        sight: Sight,
        journal: Journal,
        learner: Learner,
        permission: Callable[[], Permission],
        settings: LoopSettings,
        clock: Clock,
        metrics: ControlMetrics,
    ) -> None:
        self._model = model
        self._track = track
        self._node = node
        self._sight = sight
        self._journal = journal
        self._learner = learner
        self._permission = permission
        self._settings = settings
        self._clock = clock
        self._metrics = metrics

    def status(self, problem: str | None) -> ModelStatus:
        """Everything about the model now.

        Args:
            problem: Why the last round failed; None when it did not.
        """
        track, state, journal, now = self._track, self._node.state, self._journal, self._clock.monotonic()
        space = self._learner.space
        since_epoch = self._clock.time() - now
        return ModelStatus(
            name=self._model,
            mode=track.mode,
            slo=track.slo,
            config=state.config if state else None,
            generation=state.generation if state else None,
            in_force_since=self._node.in_force_since,
            phase=state.phase if state else None,
            last_known_good=track.last_known_good,
            verifying=track.probation is not None,
            window=self._sight.windows.current(),
            judged=track.judged.window if track.judged else None,
            verdict=track.judged.verdict if track.judged else None,
            workload=self.workload(),
            recommendation=track.recommendation,
            last_decision=journal.last,
            hold=journal.hold,
            permission=self._permission(),
            error_budget=track.budget.state(track.slo, now),
            frozen_seconds=max(track.frozen_until - now, 0.0),
            spike_seconds=sum(cost for at, cost in track.spikes if at > now - BUDGET_SECONDS),
            spike_seconds_allowed=self._settings.max_spike_seconds_per_hour,
            quarantine={c: replace(held, until=held.until + since_epoch) for c, held in track.quarantine.items()},
            agent_reachable=self._node.reachable,
            metrics_age_seconds=self._sight.age_seconds,
            observations=self._learner.observations,
            switches_left=self._switches_left(),
            support=state.support if state else None,
            knobs={knob.name: knob.values for knob in space.knobs} if space else {},
            server_kind=state.server_kind if state else "unknown",
            server_version=state.server_version if state else "unknown",
            problem=problem or self._node.error or self._sight.missing,
        )

    def workload(self) -> Workload | None:
        """The present load; from the window in progress once it is long enough to tell."""
        judged, window = self._track.judged, self._sight.windows.current()
        if window is not None and (judged is None or self._long_enough(window)):
            return window.workload
        return judged.window.workload if judged else None

    def tell_metrics(self) -> None:
        """What is so after a round, whether it ended well or not."""
        age, hold, permission = self._sight.age_seconds, self._journal.hold, self._permission()
        self._metrics.standing(
            self._model,
            mode=permission.mode,
            hold=hold.reason if hold else None,
            agent_reachable=self._node.reachable,
            read_at=None if age is None else self._clock.time() - age,
            switches_left=self._switches_left(),
            quarantined=len(self._track.quarantine),
        )
        self._metrics.kill_switch(on=permission.killed)
        budget = self._track.budget.state(self._track.slo, self._clock.monotonic())
        if budget.remaining_ratio is not None:
            self._metrics.error_budget(self._model, budget.remaining_ratio, budget.rates)

    def _long_enough(self, window: Window) -> bool:
        return window.duration_seconds >= self._settings.window_seconds / 2

    def _switches_left(self) -> int:
        return switches_left(tuple(self._track.switches), self._clock.monotonic(), self._settings)
