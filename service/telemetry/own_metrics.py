"""ControlMetrics: what Regulus says of itself to Prometheus. One method an event; labels are bounded."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from service.domain.decision import Decision, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window


class ControlMetrics:
    """Regulus's own metrics in a registry that the caller owns and renders. Thread-safe.

    Args:
        registry: Where they are registered; one ControlMetrics a registry.
        version: Regulus's version, for ``regulus_build_info``.
    """

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None: ...

    def decided(self, decision: Decision) -> None:
        """A decision was taken (every action, HOLD too)."""

    def reconfigured(self, model: str, kind: str, outcome: str, seconds: float) -> None:
        """A configuration was sent; ``kind`` auto|manual|rollback|reconcile; ``outcome`` ok|failed|timeout|refused."""

    def rolled_back(self, model: str, reason: str) -> None:
        """Regulus returned to the last known good."""

    def objective(self, model: str, slo: Slo) -> None:
        """The objective that is in force."""

    def budget_remaining(self, model: str, ratio: float) -> None:
        """Share of the error budget that is left, 1 … 0, negative when overspent."""

    def recommended(self, model: str, recommendation: Recommendation, seconds: float) -> None:
        """The policy was asked; it took this long."""

    def configuration(self, model: str, config: ServingConfig) -> None:
        """The configuration in force."""

    def window(self, model: str, window: Window, percentiles: Sequence[float] = (0.5, 0.99)) -> None:
        """A window was measured."""

    def scrape_failed(self, model: str) -> None:
        """The server's metrics could not be read."""

    def loop_succeeded(self, model: str, at: float) -> None:
        """A round of the loop ended well at this unix time."""

    def forget(self, model: str) -> None:
        """The model is no longer steered: its gauges vanish."""
