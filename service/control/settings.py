"""Settings of the control loop: what they mean, their unit, and why this default."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from service.control.maintenance import MaintenanceWindow
from service.domain.decision import Mode
from service.domain.slo import Slo

HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+\S*$", max_length=2048)]
"""An absolute http or https URL, kept as it was written."""


class Settings(BaseModel):
    """Base of all settings here: immutable, and an unknown name is an error rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SloSettings(Settings):
    """The objective of a model, as written in a settings file."""

    bound_seconds: float = Field(
        description="Latency that must not be exceeded, in seconds. No default: only the owner of the service knows it."
    )
    percentile: float = Field(
        default=0.99,
        description="Which percentile is held against the bound, as a fraction. 0.99 is what most objectives name.",
    )
    target_ratio: float = Field(
        default=0.99,
        description="Share of requests (fraction) that must be answered within the bound; the rest is the error "
        "budget. 0.99 says the same as p99.",
    )

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        self.to_slo()
        return self

    def to_slo(self) -> Slo:
        """The domain's word for it."""
        return Slo(self.bound_seconds, self.percentile, self.target_ratio)


class ModelSettings(Settings):
    """One model that this service steers, and where its server is."""

    name: str = Field(min_length=1, max_length=200, description="Name of the model, as its server calls it.")
    agent_url: HttpUrl = Field(
        description="Root of the node's agent API, such as http://127.0.0.1:8600. No default: nodes differ."
    )
    metrics_url: HttpUrl = Field(
        description="Full URL of the metrics: of a node AGENT_URL/agent/v1/metrics, of the embedded server such as "
        "http://127.0.0.1:8501/monitoring/prometheus/metrics. No default: nodes differ."
    )
    slo: SloSettings = Field(
        description="The objective to start with. One that was set through the API since is remembered and wins."
    )
    mode: Mode = Field(
        default=Mode.RECOMMEND,
        description="How much may be done to start with: off, recommend or auto. recommend touches nothing until the "
        "owner has seen what it would do. One that was set through the API since is remembered and wins.",
    )
    bounds: dict[str, tuple[int, int]] = Field(
        default_factory=dict,
        description="Lowest and highest allowed value for a knob, in the knob's own unit. Empty: all that the node "
        "supports.",
    )
    pinned: dict[str, int] = Field(
        default_factory=dict,
        description="Knobs that must keep one value, in the knob's own unit. Empty: every knob may change.",
    )
    maintenance: tuple[str, ...] = Field(
        default=(),
        description="Stretches of the week, in UTC, in which nothing is changed automatically, such as "
        "'daily 02:00-04:00' or 'sat,sun 00:00-24:00'. Empty: never. What a person commands is done at any time.",
    )

    @field_validator("name")
    @classmethod
    def _a_model(cls, name: str) -> str:
        if name == "*":
            raise ValueError("'*' stands for all models and cannot be the name of one")
        return name

    @field_validator("maintenance")
    @classmethod
    def _readable(cls, maintenance: tuple[str, ...]) -> tuple[str, ...]:
        for text in maintenance:
            MaintenanceWindow.parse(text)
        return maintenance


class LoopSettings(Settings):
    """How the loop watches, judges and acts. The same for all models."""

    scrape_interval_seconds: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="Time between two readings of a server's metrics, seconds. 0.5 makes a violation visible within "
        "a second and costs a few milliseconds of one core.",
    )
    scrape_timeout_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Longest wait for the metrics, seconds. Loopback and LAN answer in < 0.1."
    )
    metrics_stale_seconds: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="Age of the newest reading, seconds, from which metrics count as missing. Several readings may "
        "fail before that, so that one lost packet is not an event.",
    )
    window_seconds: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="Shortest stretch that is judged, seconds; a certain violation is judged earlier. 5 holds several "
        "hundred requests at 100 a second, enough for a p99.",
    )
    early_window_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="Shortest stretch on which a certain violation is judged, seconds. Four readings at the default "
        "pace: the fewest that tell a backlog that drains from a configuration that is bad.",
    )
    max_window_seconds: float = Field(
        default=60.0,
        gt=0,
        le=7200,
        description="Longest stretch to wait for min_requests, seconds. A minute lets a model with 5 requests a second "
        "be judged; beyond it the load itself would have moved.",
    )
    certainty_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Longest wait, once a window is ready, for a tail that lies too near the bound to tell, seconds; "
        "after that the estimate counts. Two more windows; waiting longer would only react later.",
    )
    min_requests: int = Field(
        default=300,
        ge=20,
        le=1_000_000,
        description="Fewest requests a window needs (count). Below 230 a p99 has no upper bound at 90 % confidence, so "
        "no window could show that the objective is met; a p99.9 wants ten times as many, a p95 a fifth.",
    )
    blanking_seconds: float = Field(
        default=1.0,
        ge=0,
        le=600,
        description="Time after a switch that no window counts, seconds. A hot switch settles within a second.",
    )
    confidence: float = Field(
        default=0.9,
        gt=0.5,
        lt=1,
        description="Confidence (fraction) of the tail's interval. At 0.9 one verdict in ten that is called certain "
        "may be wrong, and the next window corrects it; more would double the time to react.",
    )
    load_change_ratio: float = Field(
        default=0.25,
        gt=0,
        le=10,
        description="Relative change of rate or request size that makes it another load (fraction). Below a quarter "
        "the best configuration rarely changes.",
    )
    min_improvement_ratio: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Least predicted gain in tail latency (fraction) for which a switch is made while the objective "
        "is met. Less is not worth the switch, and would oscillate in the noise.",
    )
    min_dwell_seconds: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="Shortest time between two switches while the objective is met, seconds; while it is violated one "
        "judged window is enough. 30 leaves time to verify and keeps the cost of switching below a few percent.",
    )
    max_switches_per_hour: int = Field(
        default=60,
        ge=0,
        le=3600,
        description="Switches allowed in any hour; returning to a safer configuration and a person's own are counted "
        "but never refused. 60 lets a cold start search for some minutes and then settle.",
    )
    reserved_switches: int = Field(
        default=5,
        ge=0,
        le=3600,
        description="How many of those are kept for the best known configuration: exploration stops when no more are "
        "left. 5 follows some changes of load for the rest of the hour.",
    )
    max_spike_seconds_per_hour: float = Field(
        default=120.0,
        ge=0,
        le=3600,
        description="Seconds of latency above both the objective and what is usual that switches may cost in any hour; "
        "once they are spent, nothing is tried, and only a violation moves the model, to what is known to be better. "
        "120 are a thirtieth of the hour.",
    )
    canary: bool = Field(
        default=True,
        description="Whether one of several server processes tries a configuration out before the others follow, where "
        "the node can do that. What is no good then meets one process's share of the requests only. A return to what "
        "is known to be good, a person's choice and another number of processes are not tried out.",
    )
    canary_seconds: float = Field(
        default=30.0,
        gt=0,
        le=300,
        description="Longest trial by one process, seconds; what is not certain by then is decided by the intervals. "
        "What is clear is decided earlier. 30 hold a thousand requests of one of three processes at 100 a second.",
    )
    safety_factor: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="How near to the last known good configuration experiments stay while the objective is met: 0 is "
        "as far as you like, 1 not at all (a share of the lattice's diameter). 0.6 lets one or two knobs move at will "
        "and forbids leaps of all at once.",
    )
    error_budget_period_seconds: float = Field(
        default=2_592_000.0,
        ge=60,
        le=31_536_000,
        description="What the error budget is counted over, seconds. 30 days, as most objectives say; what the history "
        "no longer holds counts as kept.",
    )
    burn_window_scale: float = Field(
        default=1.0,
        gt=0,
        le=10,
        description="Factor on the stretches over which the error budget's burn rates are taken: 5 min and 1 h at 14.4 "
        "times (fast), 30 min and 6 h at 6 times (slow). 1 is the SRE workbook's; 0.02 lets a demonstration show in "
        "minutes what takes hours.",
    )
    freeze_seconds: float = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="How long nothing unknown is tried after the error budget burned fast, seconds. 10 minutes are two "
        "of the short stretches, so that the next experiment does not begin in the smoke of the last.",
    )
    learning_seconds: float = Field(
        default=0.0,
        ge=0,
        le=31_536_000,
        description="How long a model is watched before anything is changed on its own in mode auto, seconds since the "
        "first window in the history. 0, because mode recommend is where most owners watch; a day shows every hour's "
        "load.",
    )
    learning_windows: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="How many windows must have been judged before that (count). 0 as above.",
    )
    verify_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Longest wait for a verdict on a new configuration, seconds; after that (no traffic) it is kept "
        "unverified. 60 covers blanking and the longest window four times.",
    )
    agent_timeout_seconds: float = Field(
        default=5.0, gt=0, le=300, description="Longest wait for an agent to say what is in force, seconds."
    )
    apply_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Longest wait for a configuration to be in force, seconds. Loading and warming a large model "
        "takes tens of seconds; the old configuration serves meanwhile.",
    )
    agent_read_interval_seconds: float = Field(
        default=5.0,
        gt=0,
        le=600,
        description="Time between two questions what is in force, seconds, besides the one before each judgement. "
        "Finds changes from outside.",
    )
    max_backoff_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Longest pause between attempts to reach something that fails, seconds; pauses double up to it. "
        "30 is found soon after a repair and does not hammer a node in trouble.",
    )
    quarantine_seconds: float = Field(
        default=900.0,
        ge=0,
        le=604_800,
        description="How long a configuration that did not become ready in time is not tried again, seconds. 15 "
        "minutes outlast most disturbances of a node.",
    )
    hold_repeat_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="How often an unchanged reason for doing nothing is written to the history, seconds. The status "
        "always shows the present one; 5 minutes keep the history readable.",
    )
    replay_limit: int = Field(
        default=2000,
        ge=0,
        le=100_000,
        description="How many of the newest observations a restart learns from again (count). Older ones add little, "
        "and replay should take seconds.",
    )
    keep_observations: int = Field(
        default=20_000,
        ge=100,
        le=10_000_000,
        description="Newest observations kept for a model (count). A day of one every five seconds.",
    )
    keep_decisions: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="Newest decisions that changed or said something kept for a model (count). Weeks of why.",
    )
    keep_holds: int = Field(
        default=2_000,
        ge=100,
        le=10_000_000,
        description="Newest decisions to do nothing kept for a model (count). A week at one every five minutes.",
    )
    keep_days: float = Field(
        default=400.0,
        gt=0,
        le=36_500,
        description="Age from which history goes however little there is, days, counted back from the model's newest "
        "row; the newest replay_limit observations and 100 decisions stay. 400 let a year be compared with the last.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_window_seconds < self.window_seconds:
            raise ValueError(
                f"max_window_seconds ({self.max_window_seconds}) must not be less than window_seconds "
                f"({self.window_seconds})"
            )
        if self.early_window_seconds > self.window_seconds:
            raise ValueError(
                f"early_window_seconds ({self.early_window_seconds}) must not exceed window_seconds "
                f"({self.window_seconds})"
            )
        if self.metrics_stale_seconds < 2 * self.scrape_interval_seconds:
            raise ValueError(
                f"metrics_stale_seconds ({self.metrics_stale_seconds}) must be at least twice scrape_interval_seconds "
                f"({self.scrape_interval_seconds}), or every reading is stale"
            )
        return self
