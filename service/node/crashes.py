"""Crashes: when a server that ended by itself is started again, and when the change is taken back instead. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRules:
    """Times in seconds.

    Attributes:
        first_pause: Before the second restart; the first is at once.
        longest_pause: Pauses double up to this.
        calm: After so long without a crash they are forgotten.
        trial: A configuration this young is suspected of its crashes. TensorFlow Serving gives up on a model that does
            not load after five minutes.
        crashes_for_rollback: So many crashes of a configuration on trial take it back.
    """

    first_pause: float = 1.0
    longest_pause: float = 30.0
    calm: float = 300.0
    trial: float = 600.0
    crashes_for_rollback: int = 3

    def pause_after(self, pause: float) -> float:
        """The pause after one that was not long enough."""
        return min(max(2 * pause, self.first_pause), self.longest_pause)


@dataclass(slots=True)
class CrashLog:
    """The crashes of one generation. Not thread-safe.

    Args:
        rules: When to do what.
        in_force_since: When the generation began to serve, monotonic seconds; -inf where it has long been good.
        can_roll_back: Whether there is a configuration to return to.
    """

    rules: CrashRules
    in_force_since: float
    can_roll_back: bool
    _times: list[float] = field(default_factory=list)

    def add(self, now: float) -> float | None:
        """A server has crashed.

        Returns:
            Seconds to wait before its replacement is started; None when the change is to be taken back.
        """
        if self._times and now - self._times[-1] >= self.rules.calm:
            self._times.clear()
        self._times.append(now)
        on_trial = now - self.in_force_since <= self.rules.trial
        if self.can_roll_back and on_trial and len(self._times) >= self.rules.crashes_for_rollback:
            return None
        repeated = len(self._times) - 1
        if repeated == 0:
            return 0.0
        return float(min(self.rules.first_pause * 2 ** min(repeated - 1, 16), self.rules.longest_pause))
