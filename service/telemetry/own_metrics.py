"""ControlMetrics: what Regulus says of itself to Prometheus. One method an event.

Labels are bounded: models (those that are steered), actions, reasons, kinds, outcomes, knobs and percentiles; never an
id or a configuration. Base units (seconds, ratios), ``_total`` on counters. Targets are gauges too, so that one alert
rule compares any model with its own objective.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain.decision import Decision, Intent, Mode, Reason, Recommendation
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window

PREFIX = "regulus_"

#: Numbers of a configuration that ``regulus_config_value`` shows; whether batching is on is shown as 0 or 1.
CONFIG_KNOBS = (
    "enable_batching",
    "max_batch_size",
    "batch_timeout_micros",
    "num_batch_threads",
    "max_enqueued_batches",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "instances",
)

#: Kinds and outcomes of a reconfiguration.
KINDS = ("auto", "manual", "rollback", "canary")
OUTCOMES = ("ok", "failed", "timeout", "refused")

#: Why a configuration is taken back: it disappointed, the error budget burned fast, or a person asked for it.
ROLLBACK_REASONS = (Reason.WORSE_THAN_BEFORE, Reason.BUDGET_BURNING, Reason.USER)

#: A hot switch takes tenths of a second, a new server process up to minutes.
RECONFIGURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

#: A policy answers within milliseconds to seconds.
SUGGEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ControlMetrics:
    """Regulus's own metrics in a registry that the caller owns and renders. Thread-safe.

    Args:
        registry: Where they are registered; one ControlMetrics a registry.
        version: Regulus's version, for ``regulus_build_info``.
    """

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None:
        self._registry = registry
        self._percentiles: dict[str, float] = {}
        self._decisions = self._counter(
            "decisions", "Decisions taken, those to do nothing included.", "action", "reason"
        )
        self._reconfigurations = self._counter("reconfigurations", "Configurations sent to a node.", "kind", "outcome")
        self._rollbacks = self._counter("rollbacks", "Returns to the last known good configuration.", "reason")
        self._recommendations = self._counter("recommendations", "Answers of the policy.", "intent")
        self._scrape_failures = self._counter("scrape_failures", "Times a server's metrics could not be read.")
        self._reconfiguration_seconds = self._histogram(
            "reconfiguration_duration_seconds", "From sending a configuration to its answer.", RECONFIGURATION_BUCKETS
        )
        self._suggest_seconds = self._histogram(
            "suggest_duration_seconds", "How long the policy thought.", SUGGEST_BUCKETS
        )
        self._latency_target = self._gauge("slo_latency_target_seconds", "The objective's latency bound.")
        self._objective = self._gauge("slo_objective_ratio", "Share of requests that must stay within the bound.")
        self._percentile = self._gauge("slo_percentile_ratio", "The percentile that is held against the bound.")
        self._budget = self._gauge("error_budget_remaining_ratio", "Share of the error budget that is left.")
        self._burn = self._gauge(
            "error_budget_burn_rate", "Share that broke the objective over a stretch, per share allowed.", "window"
        )
        self._spike_seconds = self._counter(
            "switch_spike_seconds", "Seconds of latency above the objective and the usual that switches cost."
        )
        self._kill_switch = Gauge(
            PREFIX + "kill_switch", "1 while nothing is done automatically for any model.", registry=registry
        )
        self._confidence = self._gauge("recommendation_confidence_ratio", "Confidence of the latest recommendation.")
        self._predicted = self._gauge(
            "recommendation_latency_seconds",
            "Predicted latency, at the objective's percentile, of the latest recommendation: low, expected, high.",
            "bound",
        )
        self._config = self._gauge("config_value", "The configuration in force, one knob a series.", "knob")
        self._window_latency = self._gauge("window_latency_seconds", "Latency in the latest window.", "quantile")
        self._window_tail = self._gauge(
            "window_tail_latency_seconds", "Latency in the latest window, at the objective's percentile."
        )
        self._window_rate = self._gauge("window_requests_per_second", "Arrival rate in the latest window.")
        self._mode = self._gauge("mode", "1 for the mode in force, 0 for the others.", "mode")
        self._hold = self._gauge("hold", "1 for the reason why nothing is being done now, 0 for the others.", "reason")
        self._agent_up = self._gauge("agent_up", "Whether the agent answered the last question.")
        self._read_at = self._gauge(
            "last_reading_timestamp_seconds", "Unix time at which the server's metrics were last read."
        )
        self._switches_left = self._gauge("switches_left", "Switches left in this hour's budget.")
        self._quarantined = self._gauge("quarantined_configurations", "Configurations that are not tried for now.")
        self._loop_at = self._gauge(
            "last_successful_loop_timestamp_seconds", "Unix time at which a round of the loop last ended well."
        )
        build = Gauge(PREFIX + "build_info", "Always 1; the label tells the version.", ["version"], registry=registry)
        build.labels(version).set(1)

    def decided(self, decision: Decision) -> None:
        """A decision was taken (every action, HOLD too)."""
        self._decisions.labels(decision.model, decision.action.value, decision.reason.value).inc()

    def reconfigured(self, model: str, kind: str, outcome: str, seconds: float) -> None:
        """A configuration was sent and answered, or not.

        Args:
            model: Whose.
            kind: One of :data:`KINDS`.
            outcome: One of :data:`OUTCOMES`.
            seconds: From sending it to the answer.
        """
        self._reconfigurations.labels(model, kind, outcome).inc()
        self._reconfiguration_seconds.labels(model).observe(seconds)

    def rolled_back(self, model: str, reason: str) -> None:
        """Regulus returned to the last known good; ``reason`` is a :class:`~service.domain.decision.Reason`."""
        self._rollbacks.labels(model, reason).inc()

    def objective(self, model: str, slo: Slo) -> None:
        """The objective that is in force.

        Also begins the model's counters at 0: an alert on an increase does not see the first event of a counter that
        did not exist before.
        """
        self._begin(model)
        self._latency_target.labels(model).set(slo.bound_seconds)
        self._objective.labels(model).set(slo.target_ratio)
        self._percentile.labels(model).set(slo.percentile)
        self._percentiles[model] = slo.percentile

    def error_budget(self, model: str, remaining_ratio: float, rates: Mapping[str, float]) -> None:
        """The error budget: the share that is left (1 untouched, 0 spent, negative overspent), and its burn rates.

        Args:
            model: Whose.
            remaining_ratio: The share.
            rates: Burn rates by the name of the stretch; a handful, always the same.
        """
        self._budget.labels(model).set(remaining_ratio)
        for window, rate in rates.items():
            self._burn.labels(model, window).set(rate)

    def switch_cost(self, model: str, seconds: float) -> None:
        """A switch was judged; its spike lasted this long."""
        self._spike_seconds.labels(model).inc(seconds)

    def kill_switch(self, *, on: bool) -> None:
        """Whether the kill switch is on."""
        self._kill_switch.set(on)

    def recommended(self, model: str, recommendation: Recommendation, seconds: float) -> None:
        """The policy was asked; it took this long."""
        self._recommendations.labels(model, recommendation.intent.value).inc()
        self._confidence.labels(model).set(recommendation.confidence)
        self._suggest_seconds.labels(model).observe(seconds)
        predicted = recommendation.predicted_tail
        for bound in ("low", "expected", "high"):
            if predicted is None:
                with contextlib.suppress(KeyError):  # nothing was predicted before either
                    self._predicted.remove(model, bound)
            else:
                value = predicted.value if bound == "expected" else getattr(predicted, bound)
                self._predicted.labels(model, bound).set(value)

    def configuration(self, model: str, config: ServingConfig) -> None:
        """The configuration in force."""
        for knob in CONFIG_KNOBS:
            self._config.labels(model, knob).set(getattr(config, knob))

    def window(self, model: str, window: Window, percentiles: Sequence[float] = (0.5, 0.99)) -> None:
        """A window was measured; an idle one has no latencies to show."""
        self._window_rate.labels(model).set(window.workload.rate_per_second)
        for percentile in percentiles:
            value = window.latency.quantile(percentile)
            self._window_latency.labels(model, f"{percentile:g}").set(value)
        if (judged := self._percentiles.get(model)) is not None:
            self._window_tail.labels(model).set(window.latency.quantile(judged))

    def scrape_failed(self, model: str) -> None:
        """The server's metrics could not be read."""
        self._scrape_failures.labels(model).inc()

    def standing(
        self,
        model: str,
        *,
        mode: Mode,
        hold: Reason | None,
        agent_reachable: bool,
        read_at: float | None,
        switches_left: int,
        quarantined: int,
    ) -> None:
        """What is so after a round of the loop, whether it ended well or not.

        Args:
            model: Whose loop.
            mode: In force.
            hold: Why nothing is being done; None right after something was.
            agent_reachable: Whether the agent answered the last question.
            read_at: Unix time of the newest reading of the server's metrics, seconds; None before the first.
            switches_left: Switches left in this hour's budget.
            quarantined: Configurations that are not to be tried for now.
        """
        for each in Mode:
            self._mode.labels(model, each.value).set(each is mode)
        for reason in Reason:
            self._hold.labels(model, reason.value).set(reason is hold)
        self._agent_up.labels(model).set(agent_reachable)
        if read_at is not None:
            self._read_at.labels(model).set(read_at)
        self._switches_left.labels(model).set(switches_left)
        self._quarantined.labels(model).set(quarantined)

    def loop_succeeded(self, model: str, at: float) -> None:
        """A round of the loop ended well at this unix time, seconds."""
        self._loop_at.labels(model).set(at)

    def _begin(self, model: str) -> None:
        for kind in KINDS:
            for outcome in OUTCOMES:
                self._reconfigurations.labels(model, kind, outcome)
        for reason in ROLLBACK_REASONS:
            self._rollbacks.labels(model, reason.value)
        for intent in Intent:
            self._recommendations.labels(model, intent.value)
        self._scrape_failures.labels(model)
        self._spike_seconds.labels(model)
        self._reconfiguration_seconds.labels(model)
        self._suggest_seconds.labels(model)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, help_text, ["model", *labels], registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, help_text, ["model", *labels], registry=self._registry)

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(PREFIX + name, help_text, ["model"], registry=self._registry, buckets=buckets)
