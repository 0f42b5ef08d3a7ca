"""Values to put into a store."""

from __future__ import annotations

from service.domain.decision import Action, Decision, Intent, Mode, Reason, Recommendation
from service.domain.histogram import Histogram, Interval, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.window import Window, WindowQuality
from service.domain.workload import Workload

CONFIG = ServingConfig(
    enable_batching=True,
    max_batch_size=32,
    batch_timeout_micros=2000,
    num_batch_threads=2,
    allowed_batch_sizes=(8, 32),
    tensorflow_intra_op_parallelism=2,
)
WORKLOAD = Workload(rate_per_second=123.4, cv=1.7, examples_per_request=2.0)


def a_window(number: int = 0) -> Window:
    """Distinct for each number, with buckets as fine as the embedded server's."""
    bounds = exponential_bounds(1e-4, 1.1, 141)
    return Window(
        started_at=1_700_000_000.0 + number,
        duration_seconds=10.0,
        latency=Histogram.of([0.001 * (k + 1) for k in range(50 + number)], bounds),
        workload=WORKLOAD,
        quality=WindowQuality.GOOD,
        succeeded=50 + number,
        rejected=3,
        failed=1,
        batch_size=Histogram((1.0, 2.0), (1, 2, 3), 20.0),
        queueing=None,
    )


def a_decision(number: int = 0, *, model: str = "m", action: Action = Action.HOLD) -> Decision:
    """Distinct for each number; everything that a decision can hold."""
    return Decision(
        decided_at=1_700_000_000.0 + number,
        model=model,
        mode=Mode.AUTO,
        action=action,
        reason=Reason.SLO_VIOLATED,
        explanation=f"p99 83 ms over 50 ms: «{number}» — ∞",
        config_before=ServingConfig(),
        config_after=CONFIG,
        generation=number,
        recommendation=Recommendation(
            config=CONFIG,
            intent=Intent.EXPLORE,
            explanation="untried neighbour",
            workload=WORKLOAD,
            predicted_tail=Interval(0.01, 0.02, float("inf")),
            confidence=0.4,
            acceptable={"max_batch_size": (16, 64)},
        ),
        inputs={"budget": 0.5, "gates": ["dwell", "burn"], "window": {"p99": 0.083}},
    )
