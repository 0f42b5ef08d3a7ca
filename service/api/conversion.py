"""Conversion: between the domain's values and the API's schemas, both ways, in this one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from service.api.ledger_schemas import LedgerEntryOut, LedgerOut
from service.api.schemas import (
    ChangeOut,
    ConfigBody,
    ConfigState,
    DecisionOut,
    ErrorBudgetOut,
    IntervalOut,
    ModelOut,
    ObservationOut,
    QuarantineOut,
    RangeOut,
    RecommendationAnswer,
    RecommendationOut,
    SloBody,
    SupportOut,
    WindowOut,
    WorkloadBody,
)
from service.backends.protocol import Support
from service.control.error_budget import BudgetState
from service.control.ledger import Entry, Ledger
from service.control.situation import Quarantine
from service.control.status import ModelStatus
from service.domain.decision import Decision, Recommendation
from service.domain.errors import BackendUnavailableError
from service.domain.histogram import Histogram, Interval
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.store import StoredObservation


def slo_in(body: SloBody) -> Slo:
    """The objective that a body describes."""
    return Slo(body.bound_seconds, body.percentile, body.target_ratio)


def workload_in(body: WorkloadBody) -> Workload:
    """The load that a body describes."""
    return Workload(body.rate_per_second, body.cv, body.examples_per_request)


def config_in(body: ConfigBody) -> ServingConfig:
    """The configuration that a body describes.

    Raises:
        InfeasibleConfigError: Its values contradict each other; names the knob.
    """
    return ServingConfig.from_dict(body.model_dump())


def slo_out(slo: Slo) -> SloBody:
    """An objective as JSON."""
    return SloBody(**slo.to_dict())


def workload_out(workload: Workload) -> WorkloadBody:
    """A load as JSON. What was measured is told as it is, even beyond what may be supposed."""
    return WorkloadBody.model_construct(
        rate_per_second=workload.rate_per_second,
        cv=workload.cv,
        examples_per_request=workload.examples_per_request,
    )


def config_out(config: ServingConfig) -> ConfigBody:
    """A configuration as JSON."""
    return ConfigBody(**config.to_dict())


def interval_out(interval: Interval) -> IntervalOut:
    """An interval as JSON; an unbounded end becomes null."""
    return IntervalOut(**interval.to_dict())


def changes_out(before: ServingConfig | None, after: ServingConfig | None) -> dict[str, ChangeOut]:
    """Knobs that differ; none where either side is unknown."""
    if before is None or after is None:
        return {}
    return {name: ChangeOut(before=old, after=new) for name, (old, new) in before.differences(after).items()}


def recommendation_out(recommendation: Recommendation, slo: Slo | None = None) -> RecommendationOut:
    """A recommendation as JSON."""
    return RecommendationOut(**_recommendation_fields(recommendation, slo))


def recommendation_answer(
    recommendation: Recommendation, slo: Slo, in_force: ServingConfig | None
) -> RecommendationAnswer:
    """A recommendation beside what is in force."""
    return RecommendationAnswer(
        **_recommendation_fields(recommendation, slo),
        in_force=_maybe_config(in_force),
        changes=changes_out(in_force, recommendation.config),
    )


def _recommendation_fields(recommendation: Recommendation, slo: Slo | None) -> dict[str, Any]:
    tail = recommendation.predicted_tail
    return {
        "config": config_out(recommendation.config),
        "intent": recommendation.intent,
        "explanation": recommendation.explanation,
        "workload": workload_out(recommendation.workload),
        "slo": slo_out(slo) if slo is not None else None,
        "predicted_tail": interval_out(tail) if tail is not None else None,
        "confidence": recommendation.confidence,
        "acceptable": {name: RangeOut(low=low, high=high) for name, (low, high) in recommendation.acceptable.items()},
    }


def decision_out(decision: Decision) -> DecisionOut:
    """A decision as JSON."""
    return DecisionOut(
        id=decision.id,
        decided_at=decision.decided_at,
        model=decision.model,
        mode=decision.mode,
        action=decision.action,
        reason=decision.reason,
        explanation=decision.explanation,
        config_before=_maybe_config(decision.config_before),
        config_after=_maybe_config(decision.config_after),
        changes=changes_out(decision.config_before, decision.config_after),
        generation=decision.generation,
        recommendation=recommendation_out(decision.recommendation) if decision.recommendation else None,
        inputs=_finite_only(decision.inputs),
    )


def window_out(window: Window, slo: Slo) -> WindowOut:
    """A window as JSON, its tail at the objective's percentile."""
    measured = window.latency.count > 0
    return WindowOut(
        started_at=window.started_at,
        duration_seconds=window.duration_seconds,
        quality=window.quality,
        workload=workload_out(window.workload),
        succeeded=window.succeeded,
        rejected=window.rejected,
        failed=window.failed,
        throughput_per_second=window.throughput_per_second,
        p50_seconds=window.latency.quantile(0.5) if measured else None,
        tail=interval_out(window.tail(slo)) if measured else None,
        violation_ratio=window.violation_ratio(slo),
        mean_batch_size=_mean(window.batch_size),
        mean_queueing_seconds=_mean(window.queueing),
    )


def observation_out(observation: StoredObservation, slo: Slo) -> ObservationOut:
    """An observation as JSON."""
    return ObservationOut(
        id=observation.id,
        observed_at=observation.observed_at,
        model=observation.model,
        config=config_out(observation.config),
        window=window_out(observation.window, slo),
    )


def config_state(status: ModelStatus) -> ConfigState:
    """The configuration in force.

    Raises:
        BackendUnavailableError: The agent has not answered yet.
    """
    if status.config is None or status.generation is None:
        reason = status.problem or "its agent has not answered since this service started"
        raise BackendUnavailableError(f"what is in force for {status.name!r} is not known: {reason}")
    return ConfigState(
        config=config_out(status.config),
        generation=status.generation,
        in_force_since=status.in_force_since,
        phase=status.phase,
        last_known_good=_maybe_config(status.last_known_good),
    )


def model_out(status: ModelStatus) -> ModelOut:
    """The state of a model as JSON."""
    slo = status.slo
    return ModelOut(
        name=status.name,
        mode=status.mode,
        slo=slo_out(slo),
        verdict=status.verdict,
        problem=status.problem,
        config=_maybe_config(status.config),
        generation=status.generation,
        in_force_since=status.in_force_since,
        phase=status.phase,
        last_known_good=_maybe_config(status.last_known_good),
        verifying=status.verifying,
        workload=workload_out(status.workload) if status.workload else None,
        window=window_out(status.window, slo) if status.window else None,
        judged=window_out(status.judged, slo) if status.judged else None,
        recommendation=recommendation_out(status.recommendation) if status.recommendation else None,
        last_decision=decision_out(status.last_decision) if status.last_decision else None,
        hold_reason=status.hold_reason,
        hold_explanation=status.hold_explanation,
        agent_reachable=status.agent_reachable,
        metrics_age_seconds=status.metrics_age_seconds,
        observations=status.observations,
        switches_left=status.switches_left,
        spike_seconds=status.spike_seconds,
        spike_seconds_allowed=status.spike_seconds_allowed,
        error_budget=_budget_out(status.error_budget),
        frozen_seconds=status.frozen_seconds,
        kill_switch=status.permission.killed,
        maintenance=status.permission.maintenance,
        learning=status.permission.learning,
        quarantine=[_quarantine_out(config, held) for config, held in status.quarantine.items()],
        support=_support_out(status.support) if status.support else None,
        knobs={name: list(values) for name, values in status.knobs.items()},
        server_kind=status.server_kind,
        server_version=status.server_version,
    )


def ledger_out(made: Ledger, slo: Slo) -> LedgerOut:
    """The ledger as JSON."""
    return LedgerOut(
        slo=slo_out(slo),
        windows=made.windows,
        violated=made.violated,
        avoidable=made.avoidable,
        predicted_gain=made.predicted_gain,
        entries=[_ledger_entry_out(entry) for entry in made.entries],
    )


def _ledger_entry_out(entry: Entry) -> LedgerEntryOut:
    return LedgerEntryOut(
        decision_id=entry.decision.id,
        decided_at=entry.decision.decided_at,
        reason=entry.decision.reason,
        kept=_maybe_config(entry.kept),
        changes=changes_out(entry.kept, entry.recommended),
        predicted_tail=interval_out(entry.predicted) if entry.predicted else None,
        windows=entry.windows,
        violated=entry.violated,
        measured_tail=entry.measured,
        predicted_gain=entry.predicted_gain,
    )


def _budget_out(budget: BudgetState) -> ErrorBudgetOut:
    return ErrorBudgetOut(
        remaining_ratio=budget.remaining_ratio,
        burn=budget.burn,
        rates=dict(budget.rates),
        known_seconds=budget.known_seconds,
    )


def _quarantine_out(config: ServingConfig, held: Quarantine) -> QuarantineOut:
    return QuarantineOut(
        config=config_out(config),
        until=held.until,
        reason=held.reason,
        explanation=held.explanation,
    )


def _support_out(support: Support) -> SupportOut:
    return SupportOut(bounds=support.bounds, cpus=support.cpus, memory_bytes=support.memory_bytes)


def _maybe_config(config: ServingConfig | None) -> ConfigBody | None:
    return config_out(config) if config is not None else None


def _mean(histogram: Histogram | None) -> float | None:
    return histogram.mean if histogram is not None and histogram.count else None


def _finite_only(value: Any) -> Any:
    """A copy fit for JSON, which knows neither NaN nor infinity; both become null."""
    if isinstance(value, Mapping):
        return {str(key): _finite_only(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_only(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
