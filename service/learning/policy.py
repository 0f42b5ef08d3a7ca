"""Policy: the protocol of everything that chooses configurations."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from service.domain.decision import Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload


@runtime_checkable
class Policy(Protocol):
    """Chooses configurations from what windows showed.

    Not safe for use from several threads at once: the caller serialises. State is rebuilt by calling ``observe`` with
    stored observations in their order; nothing is pickled. With the same seed and the same calls, the answers are the
    same. Every configuration returned is feasible in the space that the policy was given.
    """

    @property
    def name(self) -> str:
        """Short name, stable; used as a label."""
        ...

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        """What to run under this load.

        Args:
            workload: The present load.
            incumbent: What is in force; staying costs nothing, switching does.
            slo: The objective to meet first; only then does lower latency count.
            explore: False allows only configurations already measured (exploit).
        """
        ...

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        """Learn from a usable window that was measured under ``config``."""
        ...

    def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        """What is expected of one given configuration: ``predicted_tail``, ``confidence`` and why. Changes nothing."""
        ...
