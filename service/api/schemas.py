"""Schemas: what goes in and out of the API, as JSON; apart from the domain, so that either can change alone.

Units are in each description; times are Unix seconds. What comes in admits no unknown names.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.api import examples
from service.backends.protocol import BackendPhase
from service.control.error_budget import Burn
from service.domain.decision import Action, Intent, Mode, Reason
from service.domain.slo import MIN_BOUND_SECONDS
from service.domain.window import SloVerdict, WindowQuality


def shown(example: dict[str, Any], *, forbid_unknown: bool = False) -> ConfigDict:
    """A schema's configuration: its example, and whether names it does not know are refused or left out."""
    return ConfigDict(extra="forbid" if forbid_unknown else "ignore", json_schema_extra={"examples": [example]})


class SloBody(BaseModel):
    """A latency objective."""

    model_config = shown(examples.SLO, forbid_unknown=True)

    bound_seconds: float = Field(
        ge=MIN_BOUND_SECONDS, le=3600, description="Latency that must not be exceeded, seconds."
    )
    percentile: float = Field(
        default=0.99, ge=0.5, lt=1, description="Which percentile is held against the bound; a fraction, 0.99 is p99."
    )
    target_ratio: float = Field(
        default=0.99, gt=0, lt=1, description="Share of requests that must stay within the bound; a fraction."
    )


class ModeBody(BaseModel):
    """How much Regulus may do for a model."""

    model_config = shown(examples.MODE, forbid_unknown=True)

    mode: Mode = Field(description="off observes; recommend says what it would do; auto reconfigures the server.")


class KillSwitchBody(BaseModel):
    """One switch for all models."""

    model_config = shown(examples.KILL_SWITCH, forbid_unknown=True)

    on: bool = Field(strict=True, description="Whether nothing may be done automatically, for any model.")


class WorkloadBody(BaseModel):
    """How requests arrive."""

    model_config = shown(examples.WORKLOAD, forbid_unknown=True)

    rate_per_second: float = Field(ge=0, le=1e7, allow_inf_nan=False, description="Mean arrival rate, requests/second.")
    cv: float = Field(
        default=1.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Coefficient of variation of the times between arrivals; 1 is a Poisson process, more is bursts.",
    )
    examples_per_request: float = Field(
        default=1.0, ge=0, le=1e6, allow_inf_nan=False, description="Mean number of examples one request carries."
    )


class WhatIf(BaseModel):
    """A load, and perhaps an objective, to suppose."""

    model_config = shown(examples.WHAT_IF, forbid_unknown=True)

    workload: WorkloadBody = Field(description="The load to suppose.")
    slo: SloBody | None = Field(default=None, description="The objective to suppose; the model's own when left out.")


class ConfigBody(BaseModel):
    """A complete configuration. Names, units and limits are TensorFlow Serving's own; ``instances`` is ours.

    Every knob must be given, so that none is reset by being forgotten; read the present one first. While
    ``enable_batching`` is false the batching knobs have no effect and are answered with their defaults.
    """

    model_config = shown(examples.CONFIG, forbid_unknown=True)

    enable_batching: bool = Field(strict=True, description="Whether requests are gathered into batches.")
    max_batch_size: int = Field(strict=True, ge=1, le=1 << 20, description="Largest batch, examples.")
    batch_timeout_micros: int = Field(
        strict=True, ge=0, le=60_000_000, description="How long the oldest request of a batch may wait, microseconds."
    )
    num_batch_threads: int = Field(strict=True, ge=1, le=1024, description="Batches in execution at once.")
    max_enqueued_batches: int = Field(
        strict=True, ge=1, le=1 << 20, description="Batches that may wait; beyond it requests are refused."
    )
    allowed_batch_sizes: list[Annotated[int, Field(strict=True, ge=1)]] = Field(
        max_length=1024,
        description="Sizes a batch is padded up to, examples; ascending, the last equal to max_batch_size. Empty: no "
        "padding.",
    )
    tensorflow_inter_op_parallelism: int = Field(
        strict=True, ge=0, le=1024, description="Threads that run independent operations; 0 lets TensorFlow choose."
    )
    tensorflow_intra_op_parallelism: int = Field(
        strict=True, ge=0, le=1024, description="Threads inside one operation; 0 lets TensorFlow choose."
    )
    instances: int = Field(strict=True, ge=1, le=64, description="Sessions, or server processes, that share the load.")


class IntervalOut(BaseModel):
    """An estimate and the interval it lies in; null where unbounded. The unit is the field's."""

    model_config = shown(examples.INTERVAL)

    low: float | None = Field(description="Lower end.")
    value: float | None = Field(description="Best estimate.")
    high: float | None = Field(description="Upper end.")


class ChangeOut(BaseModel):
    """A knob that differs between two configurations."""

    model_config = shown({"before": 1000, "after": 16})

    before: Any = Field(description="Value in the first.")
    after: Any = Field(description="Value in the second.")


class RangeOut(BaseModel):
    """Values of a knob, in its own unit, that are about as good; both ends belong to it."""

    model_config = shown(examples.RANGE)

    low: int = Field(description="Lowest value; for max_batch_size 0 means batching off.")
    high: int = Field(description="Highest value.")


class RecommendationOut(BaseModel):
    """What the policy would choose, and why."""

    model_config = shown(
        {name: value for name, value in examples.RECOMMENDATION.items() if name not in ("in_force", "changes")}
    )

    config: ConfigBody = Field(description="The configuration it names.")
    intent: Intent = Field(description="explore: to learn; exploit: the best known; stay: the one in force is best.")
    explanation: str = Field(description="The reason, as a sentence.")
    workload: WorkloadBody = Field(description="The load it is meant for.")
    slo: SloBody | None = Field(default=None, description="The objective it is meant for, where known.")
    predicted_tail: IntervalOut | None = Field(
        description="Predicted latency at the objective's percentile, seconds; null while nothing is known."
    )
    confidence: float = Field(description="0 (a guess) to 1 (measured often and lately).")
    acceptable: dict[str, RangeOut] = Field(
        description="For each knob the range that, the others unchanged, is predicted to be about as good; a knob that "
        "is missing is unknown."
    )


class RecommendationAnswer(RecommendationOut):
    """A recommendation beside what is in force."""

    model_config = shown(examples.RECOMMENDATION)

    in_force: ConfigBody | None = Field(description="The configuration in force; null while unknown.")
    changes: dict[str, ChangeOut] = Field(description="Knobs that following it would change; empty while unknown.")


class DecisionOut(BaseModel):
    """What the loop did at one moment, or why it did nothing."""

    model_config = shown(examples.DECISION)

    id: int | None = Field(description="Number in the history; null for a repeated hold, which is not stored.")
    decided_at: float = Field(description="When, Unix seconds.")
    model: str = Field(description="Name of the model.")
    mode: Mode = Field(description="The mode in which it was taken.")
    action: Action = Field(description="What was done.")
    reason: Reason = Field(description="Why, as a code.")
    explanation: str = Field(description="Why, as a sentence.")
    config_before: ConfigBody | None = Field(description="In force before; null where unknown.")
    config_after: ConfigBody | None = Field(description="In force afterwards; the same when nothing was done.")
    changes: dict[str, ChangeOut] = Field(description="Knobs that differ between the two.")
    generation: int | None = Field(description="Number of the configuration in force afterwards, where known.")
    recommendation: RecommendationOut | None = Field(description="What the policy said, where it was asked.")
    inputs: dict[str, Any] = Field(description="What else went in.")


class WindowOut(BaseModel):
    """What one stretch of time showed."""

    model_config = shown(examples.WINDOW)

    started_at: float = Field(description="When it began, Unix seconds.")
    duration_seconds: float = Field(description="How long it lasted, seconds.")
    quality: WindowQuality = Field(description="Whether it may be judged, or what is missing.")
    workload: WorkloadBody = Field(description="The load during it.")
    succeeded: int = Field(description="Requests answered well.")
    rejected: int = Field(description="Requests refused because queues were full.")
    failed: int = Field(description="Requests that failed otherwise.")
    throughput_per_second: float = Field(description="Requests answered well, per second.")
    p50_seconds: float | None = Field(description="Median latency, seconds; null without requests.")
    tail: IntervalOut | None = Field(
        description="Latency at the objective's percentile, seconds; null without requests."
    )
    violation_ratio: float = Field(
        description="Share of requests slower than the bound, refused or failed; a fraction."
    )
    mean_batch_size: float | None = Field(description="Mean examples in a batch; null where the server does not tell.")
    mean_queueing_seconds: float | None = Field(
        description="Mean wait for a batch, seconds; null where the server does not tell."
    )


class ObservationOut(BaseModel):
    """A window and the configuration it was measured under."""

    model_config = shown(examples.OBSERVATION)

    id: int = Field(description="Number in the history.")
    observed_at: float = Field(description="When the window ended, Unix seconds.")
    model: str = Field(description="Name of the model.")
    config: ConfigBody = Field(description="In force during the window.")
    window: WindowOut = Field(description="What it showed, against the present objective.")


class SupportOut(BaseModel):
    """What a node can do."""

    model_config = shown(examples.SUPPORT)

    bounds: dict[str, tuple[int, int]] = Field(
        description="Lowest and highest value of each knob that the node can change, in the knob's own unit."
    )
    cpus: float = Field(description="Processors the node may use; may be fractional.")
    memory_bytes: int | None = Field(description="Memory limit, bytes; null when unlimited or unknown.")


class ConfigState(BaseModel):
    """The configuration in force."""

    model_config = shown(examples.CONFIG_STATE)

    config: ConfigBody = Field(description="In force when the agent was last asked.")
    generation: int = Field(description="Its number; grows with each change.")
    in_force_since: float | None = Field(description="Since when, or first seen, Unix seconds.")
    phase: BackendPhase | None = Field(description="serving, or switching while the old one still serves.")
    last_known_good: ConfigBody | None = Field(description="The newest that met the objective; null until one has.")


class ErrorBudgetOut(BaseModel):
    """How much of what may go wrong has gone wrong, and how fast it goes on."""

    model_config = shown(examples.ERROR_BUDGET)

    remaining_ratio: float | None = Field(
        description="Share of the period's budget that is left: 1 untouched, 0 spent, negative overspent; null before "
        "the first window. Time of which nothing is known counts as kept."
    )
    burn: Burn = Field(
        description="healthy; slow: only what is known is used; fast: back to the last known good, where that helps."
    )
    rates: dict[str, float] = Field(
        description="Burn rate by stretch: the share of requests that broke the objective, per share that may."
    )
    known_seconds: float = Field(description="How much of the period the figures rest on, seconds.")


class QuarantineOut(BaseModel):
    """A configuration that is not tried for now."""

    model_config = shown(examples.QUARANTINE)

    config: ConfigBody = Field(description="Which.")
    until: float = Field(description="Until when, Unix seconds.")
    reason: Reason = Field(description="Why, as a code.")
    explanation: str = Field(description="Why, as a sentence.")


class ModelOut(BaseModel):
    """Everything there is to know of one model now."""

    model_config = shown(examples.STATUS)

    name: str = Field(description="Name of the model.")
    mode: Mode = Field(description="How much Regulus may do.")
    slo: SloBody = Field(description="The objective.")
    verdict: SloVerdict | None = Field(description="What the last judged window said of it; null before the first.")
    problem: str | None = Field(description="What is wrong with this model's loop; null when nothing is.")
    config: ConfigBody | None = Field(description="In force; null before the agent has answered.")
    generation: int | None = Field(description="Its number.")
    in_force_since: float | None = Field(description="Since when, or first seen, Unix seconds.")
    phase: BackendPhase | None = Field(description="What the node was doing when last asked.")
    last_known_good: ConfigBody | None = Field(description="The newest that met the objective; null until one has.")
    verifying: bool = Field(description="Whether the configuration in force is on probation after a switch.")
    workload: WorkloadBody | None = Field(description="The present load; null while unknown.")
    window: WindowOut | None = Field(description="The stretch being gathered now; null before the second reading.")
    judged: WindowOut | None = Field(description="The last window that was judged.")
    recommendation: RecommendationOut | None = Field(description="What the policy said last.")
    last_decision: DecisionOut | None = Field(description="The newest decision.")
    hold_reason: Reason | None = Field(description="Why nothing is being done, as a code; null when something was.")
    hold_explanation: str | None = Field(description="The same as a sentence.")
    agent_reachable: bool = Field(description="Whether the agent answered when last asked.")
    metrics_age_seconds: float | None = Field(description="Age of the newest reading of metrics, seconds.")
    observations: int = Field(description="Windows the policy has learnt from.")
    switches_left: int = Field(description="Switches left in this hour's budget.")
    spike_seconds: float = Field(description="Seconds of high latency that switches have cost within the hour.")
    spike_seconds_allowed: float = Field(description="How many they may.")
    error_budget: ErrorBudgetOut = Field(description="The error budget.")
    frozen_seconds: float = Field(
        description="How much longer nothing unknown is tried because the error budget burned fast, seconds; 0: it may."
    )
    kill_switch: bool = Field(description="Whether the kill switch is on, for all models.")
    maintenance: str | None = Field(description="The maintenance window that is open; null when none is.")
    learning: str | None = Field(description="What is missing before mode auto acts on its own; null when nothing is.")
    quarantine: list[QuarantineOut] = Field(description="What is not tried for now.")
    support: SupportOut | None = Field(description="What the node can do; null before the agent has answered.")
    knobs: dict[str, list[int]] = Field(
        description="Values the policy may choose from; max_batch_size 0 is batching off."
    )
    server_kind: str = Field(description="Which server the node runs.")
    server_version: str = Field(description="That server's version.")


class ModelList(BaseModel):
    """All models that this service steers."""

    model_config = shown({"models": [examples.STATUS]})

    models: list[ModelOut] = Field(description="In the order of the settings.")


class DecisionPage(BaseModel):
    """Some decisions, newest first."""

    model_config = shown({"items": [examples.DECISION], "next": 118})

    items: list[DecisionOut] = Field(description="Newest first.")
    next: int | None = Field(description="Ask again with before= this for older ones; null when there are none.")


class ObservationPage(BaseModel):
    """Some observations, newest first."""

    model_config = shown({"items": [examples.OBSERVATION], "next": 502})

    items: list[ObservationOut] = Field(description="Newest first.")
    next: int | None = Field(description="Ask again with before= this for older ones; null when there are none.")


class HealthOut(BaseModel):
    """The process answers."""

    model_config = shown({"status": "ok", "version": "0.1.0"})

    status: str = Field(description="Always ok.")
    version: str = Field(description="Version of Regulus.")


class ReadyOut(BaseModel):
    """Whether the service can do its work."""

    model_config = shown({"ready": True, "models": {examples.MODEL: "ok"}})

    ready: bool = Field(description="Whether every loop has read its history and asked its agent.")
    models: dict[str, str] = Field(description="One line for each model: ok, or what is wrong.")
