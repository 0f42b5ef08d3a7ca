from __future__ import annotations

import math
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.domain.decision import Action, Decision, Intent, Mode, Reason, Recommendation
from service.domain.histogram import Histogram, Interval
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.telemetry.own_metrics import ControlMetrics

CONFIG = ServingConfig(enable_batching=True, max_batch_size=32, num_batch_threads=2, instances=2)
WINDOW = Window(
    started_at=0.0,
    duration_seconds=10.0,
    latency=Histogram((0.1, 0.2), (50, 50, 0), 12.0),
    workload=Workload(12.5),
    succeeded=100,
)
DECISION = Decision(
    decided_at=1.0, model="m", mode=Mode.AUTO, action=Action.HOLD, reason=Reason.DWELL, explanation="too early"
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ControlMetrics:
    return ControlMetrics(registry, version="9.9")


def all_events(metrics: ControlMetrics) -> None:
    metrics.decided(DECISION)
    metrics.decided(DECISION)
    metrics.decided(replace(DECISION, action=Action.APPLY, reason=Reason.SLO_VIOLATED))
    metrics.reconfigured("m", "auto", "ok", 0.3)
    metrics.rolled_back("m", "worse_than_before")
    metrics.objective("m", Slo(0.05, target_ratio=0.999))
    metrics.error_budget("m", -0.25, {"5m": 3.0})
    metrics.recommended(
        "m",
        Recommendation(
            config=CONFIG,
            intent=Intent.STAY,
            explanation="",
            workload=Workload(1),
            predicted_tail=Interval(0.01, 0.02, 0.04),
            confidence=0.7,
        ),
        0.02,
    )
    metrics.configuration("m", CONFIG)
    metrics.window("m", WINDOW)
    metrics.scrape_failed("m")
    standing(metrics)
    metrics.loop_succeeded("m", 1234.5)


def standing(metrics: ControlMetrics, hold: Reason | None = Reason.DWELL) -> None:
    metrics.standing(
        "m", mode=Mode.AUTO, hold=hold, agent_reachable=True, read_at=1233.5, switches_left=7, quarantined=2
    )


def test_every_event_is_shown_under_its_name(metrics: ControlMetrics, registry: CollectorRegistry) -> None:
    all_events(metrics)
    model = {"model": "m"}

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, model | labels)

    assert value("regulus_decisions_total", action="hold", reason="dwell") == 2
    assert value("regulus_decisions_total", action="apply", reason="slo_violated") == 1
    assert value("regulus_reconfigurations_total", kind="auto", outcome="ok") == 1
    assert value("regulus_reconfiguration_duration_seconds_sum") == 0.3
    assert value("regulus_rollbacks_total", reason="worse_than_before") == 1
    assert value("regulus_slo_latency_target_seconds") == 0.05
    assert value("regulus_slo_objective_ratio") == 0.999
    assert value("regulus_slo_percentile_ratio") == 0.99
    assert value("regulus_error_budget_remaining_ratio") == -0.25
    assert value("regulus_error_budget_burn_rate", window="5m") == 3.0
    assert value("regulus_recommendation_confidence_ratio") == 0.7
    assert value("regulus_suggest_duration_seconds_count") == 1
    assert value("regulus_config_value", knob="max_batch_size") == 32
    assert value("regulus_config_value", knob="enable_batching") == 1
    assert value("regulus_window_requests_per_second") == 12.5
    assert value("regulus_window_latency_seconds", quantile="0.5") == pytest.approx(0.1)
    assert value("regulus_window_latency_seconds", quantile="0.99") == pytest.approx(0.198)
    assert value("regulus_scrape_failures_total") == 1
    assert value("regulus_last_successful_loop_timestamp_seconds") == 1234.5
    assert value("regulus_recommendations_total", intent="stay") == 1
    assert value("regulus_recommendation_latency_seconds", bound="low") == 0.01
    assert value("regulus_recommendation_latency_seconds", bound="expected") == 0.02
    assert value("regulus_recommendation_latency_seconds", bound="high") == 0.04
    assert value("regulus_mode", mode="auto") == 1
    assert value("regulus_mode", mode="off") == 0
    assert value("regulus_hold", reason="dwell") == 1
    assert value("regulus_agent_up") == 1
    assert value("regulus_last_reading_timestamp_seconds") == 1233.5
    assert value("regulus_switches_left") == 7
    assert value("regulus_quarantined_configurations") == 2
    assert registry.get_sample_value("regulus_build_info", {"version": "9.9"}) == 1


def test_the_page_is_valid_and_keeps_the_conventions(metrics: ControlMetrics, registry: CollectorRegistry) -> None:
    all_events(metrics)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert len(families) > 15
    for family in families:
        assert family.name.startswith("regulus_")
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) <= {
                "model", "action", "reason", "kind", "outcome", "knob", "quantile", "version", "le", "intent", "bound",
                "mode", "window",
            }  # fmt: skip
            assert not math.isnan(sample.value)


def test_labels_stay_bounded_however_long_it_runs(metrics: ControlMetrics, registry: CollectorRegistry) -> None:
    all_events(metrics)
    before = len(generate_latest(registry).splitlines())
    for number in range(50):
        metrics.configuration("m", replace(CONFIG, max_batch_size=number + 1))
        metrics.decided(replace(DECISION, id=number, explanation=f"number {number}"))
        metrics.window("m", replace(WINDOW, workload=Workload(number)))
    assert len(generate_latest(registry).splitlines()) == before


@pytest.mark.parametrize("percentile", [0.5, 0.95, 0.999])
def test_the_tail_of_a_window_is_at_the_percentile_of_its_objective(
    metrics: ControlMetrics, registry: CollectorRegistry, percentile: float
) -> None:
    metrics.window("m", WINDOW)
    assert registry.get_sample_value("regulus_window_tail_latency_seconds", {"model": "m"}) is None
    metrics.objective("m", Slo(0.05, percentile=0.99))
    metrics.objective("m", Slo(0.05, percentile=percentile))
    metrics.window("m", WINDOW)
    value = registry.get_sample_value("regulus_window_tail_latency_seconds", {"model": "m"})
    assert value == WINDOW.latency.quantile(percentile)


def test_an_idle_window_takes_the_old_latency_away(metrics: ControlMetrics, registry: CollectorRegistry) -> None:
    metrics.window("m", WINDOW)
    metrics.window("m", replace(WINDOW, latency=Histogram.empty((0.1, 0.2)), workload=Workload(0), succeeded=0))
    value = registry.get_sample_value("regulus_window_latency_seconds", {"model": "m", "quantile": "0.99"})
    assert value is not None
    assert math.isnan(value)


def test_counters_of_a_model_begin_at_zero_with_its_objective(
    metrics: ControlMetrics, registry: CollectorRegistry
) -> None:
    metrics.objective("m", Slo(0.05))
    counts = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert set(counts.values()) == {0}
    names = [name for name, *_ in counts]
    assert names.count("regulus_reconfigurations_total") == 16
    assert names.count("regulus_rollbacks_total") == 3
    assert names.count("regulus_recommendations_total") == len(Intent)
    assert names.count("regulus_scrape_failures_total") == 1


def test_only_the_present_reason_to_hold_is_shown(metrics: ControlMetrics, registry: CollectorRegistry) -> None:
    def reasons() -> set[str]:
        return {r.value for r in Reason if registry.get_sample_value("regulus_hold", {"model": "m", "reason": r.value})}

    standing(metrics, Reason.METRICS_MISSING)
    standing(metrics, Reason.DWELL)
    assert reasons() == {"dwell"}
    standing(metrics, None)
    assert reasons() == set()


def test_a_recommendation_that_predicts_nothing_takes_the_old_prediction_away(
    metrics: ControlMetrics, registry: CollectorRegistry
) -> None:
    choice = Recommendation(config=CONFIG, intent=Intent.EXPLORE, explanation="", workload=Workload(1))
    bound = {"model": "m", "bound": "expected"}
    metrics.recommended("m", choice, 0.02)
    metrics.recommended("m", replace(choice, predicted_tail=Interval(0.01, 0.02, 0.04)), 0.02)
    assert registry.get_sample_value("regulus_recommendation_latency_seconds", bound) == 0.02
    metrics.recommended("m", choice, 0.02)
    assert registry.get_sample_value("regulus_recommendation_latency_seconds", bound) is None
