"""WayBack: what is returned to is never given up; where the node refuses it just now, it is asked for again later."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.domain.backoff import Backoff
from service.domain.serving_config import ServingConfig

#: The pauses between two attempts, seconds. What a node lacks for a moment, such as free memory, it may soon have; what
#: it will never have again must not be asked for with every window.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15.0, 900.0


@dataclass(slots=True)
class WayBack:
    """Pauses that double with each refusal in a row, for each configuration. Times are monotonic seconds.

    They are not written down: a start asks once more.
    """

    _pauses: dict[ServingConfig, Backoff] = field(default_factory=dict)

    def refused(self, config: ServingConfig, now: float) -> float:
        """The node would not return to it; returns how long it is not asked again, seconds."""
        return self._pauses.setdefault(config, Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)).failed(now)

    def closed(self, config: ServingConfig, now: float) -> bool:
        """Whether it was refused so lately that it is not asked for yet."""
        pause = self._pauses.get(config)
        return pause is not None and pause.waiting(now)

    def arrived(self, config: ServingConfig) -> None:
        """It is in force: the node can run it."""
        self._pauses.pop(config, None)
