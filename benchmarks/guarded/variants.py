"""Variant: one policy, with the guardrails as shipped, with one of them set otherwise, or without any."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.replay.policies import OURS

#: A policy that does not learn what is dangerous: every configuration once, in a random order.
RECKLESS = "random"
#: How the whole set of guardrails, and their absence, are named.
GUARDED, UNGUARDED = "guarded", "unguarded"


@dataclass(frozen=True, slots=True)
class Variant:
    """Who steers, and what stands between the policy and the node.

    Attributes:
        policy: Name of the policy.
        label: What is different, for people.
        guarded: Whether the control service's loop decides; else every suggestion is put in force at once.
        settings: Names and values of the loop's settings that differ from the service's defaults.
    """

    policy: str
    label: str
    guarded: bool = True
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """Unique among variants; for files and command lines."""
        return f"{self.label}:{self.policy}".replace(" ", "_")

    @property
    def whole(self) -> bool:
        """Whether it is one of a pair: all guardrails or none."""
        return self.label in (GUARDED, UNGUARDED)


def _pair(policy: str) -> tuple[Variant, Variant]:
    return Variant(policy, UNGUARDED, guarded=False), Variant(policy, GUARDED)


#: The pairs that are compared.
PAIRS: tuple[tuple[Variant, Variant], ...] = (_pair(OURS), _pair(RECKLESS))

#: Guardrails taken out, or drawn tighter, one at a time.
_SINGLE: dict[str, dict[str, float]] = {
    # 0 is as far as you like, 1 not at all.
    "safety factor 0": {"safety_factor": 0.0},
    "safety factor 1": {"safety_factor": 1.0},
    "no dwell": {"min_dwell_seconds": 0.0},
    "no switch budgets": {
        "max_switches_per_hour": 3600,
        "reserved_switches": 0,
        "max_spike_seconds_per_hour": 3600.0,
    },
    # Ten times the stretches: no run is long enough to burn the budget of ten hours.
    "no error budget": {"burn_window_scale": 10.0},
    # As the demonstration has it: the stretches are 6, 36, 72 and 432 seconds.
    "error budget of minutes": {"burn_window_scale": 0.02},
}


def _all(pair: tuple[Variant, Variant]) -> tuple[Variant, ...]:
    singles = (Variant(pair[1].policy, label, settings=tuple(changes.items())) for label, changes in _SINGLE.items())
    return (*pair, *singles)


VARIANTS: tuple[Variant, ...] = tuple(variant for pair in PAIRS for variant in _all(pair))
