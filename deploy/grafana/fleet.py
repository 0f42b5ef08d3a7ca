"""Fleet: all models and all nodes at a glance, and Regulus's own health."""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panel import GREEN, RED, Query, Unit, happened
from deploy.grafana.visuals import Stat, Table, TimeSeries

_MODELS = Row(
    "Models",
    [
        Table(
            title="Models",
            about="One row a model. Violation: share of requests of the last hour that broke the objective.",
            key=["model"],
            queries=[
                Query("max by (model) (model:regulus_slo_latency_target:seconds)"),
                Query("max by (model) (model:regulus_latency:p99_1m)"),
                Query("max by (model) (model:regulus_requests:rate1m)"),
                Query("max by (model) (model:regulus_slo_violation:ratio1h)"),
                Query("max by (model) (model:regulus_error_budget_remaining:ratio30d)"),
                Query("max by (model) (regulus_switches_left)"),
                Query("max by (model) (regulus_agent_up)"),
            ],
            columns=[
                ("objective", Unit.SECONDS),
                ("p99", Unit.SECONDS),
                ("requests", Unit.PER_SECOND),
                ("violation 1 h", Unit.RATIO),
                ("budget left", Unit.RATIO),
                ("switches left", Unit.NONE),
                ("agent answers", Unit.YES_NO),
            ],
            width=24,
        ),
        TimeSeries(
            title="p99 relative to the objective",
            about="Above 1 the objective is broken.",
            queries=[
                Query("model:regulus_latency:p99_1m / on (model) model:regulus_slo_latency_target:seconds", "{{model}}")
            ],
            unit=Unit.MULTIPLE,
            low=0,
            steps=[(0, GREEN), (1, RED)],
        ),
        TimeSeries(
            title="Burn rate, 1 h",
            queries=[
                Query(
                    "model:regulus_slo_violation:ratio1h / on (model) model:regulus_slo_error_budget:ratio", "{{model}}"
                )
            ],
            unit=Unit.MULTIPLE,
            low=0,
            steps=[(0, GREEN), (14.4, RED)],
        ),
    ],
)

_NODES = Row(
    "Nodes",
    [
        TimeSeries(
            title="Nodes that can be scraped",
            queries=[Query('up{job="modelserver"}', "{{instance}}")],
            width=8,
            stepped=True,
            low=0,
            high=1,
            names={"0": "down", "1": "up"},
        ),
        TimeSeries(
            title="Requests by node",
            queries=[
                Query("sum by (instance) (rate(:tensorflow:serving:request_count[$__rate_interval]))", "{{instance}}")
            ],
            unit=Unit.PER_SECOND,
            width=8,
            low=0,
        ),
        TimeSeries(
            title="p99 by node",
            about="One node that is slower than the others of the same model.",
            queries=[
                Query(
                    "histogram_quantile(0.99, sum by (instance, model_name, le) "
                    "(rate(regulus_modelserver_request_latency_seconds_bucket[$__rate_interval]))) "
                    "or 1e-6 * histogram_quantile(0.99, sum by (instance, model_name, le) "
                    "(rate(:tensorflow:serving:request_latency_bucket[$__rate_interval])))",
                    "{{instance}} {{model_name}}",
                )
            ],
            unit=Unit.SECONDS,
            width=8,
            low=0,
        ),
    ],
)

_PROCESSES = Row(
    "Processes (nodes behind Envoy)",
    [
        TimeSeries(
            title="Server processes",
            about="That get requests. More than the knob `instances` says: a change is being made.",
            queries=[Query("regulus_node_servers", "{{instance}}")],
            width=8,
            stepped=True,
            low=0,
        ),
        TimeSeries(
            title="Crashes",
            queries=[Query(happened("regulus_node_crashes_total", "instance, process"), "{{instance}} {{process}}")],
            width=8,
            bars=True,
            low=0,
        ),
        TimeSeries(
            title="Switches by way",
            about="restart: new processes. version: a new version folder, for sizes and timeouts alone.",
            queries=[Query(happened("regulus_node_switches_total", "way, outcome"), "{{way}}: {{outcome}}")],
            width=8,
            bars=True,
            low=0,
        ),
    ],
)

_REGULUS = Row(
    "Regulus",
    [
        Stat(
            title="Control service",
            queries=[Query('up{job="regulus"}')],
            width=4,
            steps=[(0, RED), (1, GREEN)],
            names={"0": "down", "1": "up"},
        ),
        Stat(
            title="Version",
            queries=[Query("regulus_build_info", "{{version}}")],
            width=4,
            by_name=True,
        ),
        TimeSeries(
            title="Age of the last round that ended well",
            queries=[Query("time() - regulus_last_successful_loop_timestamp_seconds", "{{model}}")],
            unit=Unit.SECONDS,
            width=8,
            low=0,
            steps=[(0, GREEN), (120, RED)],
        ),
        TimeSeries(
            title="Readings of metrics that failed",
            queries=[Query("sum by (model) (rate(regulus_scrape_failures_total[$__rate_interval]))", "{{model}}")],
            unit=Unit.TIMES_PER_SECOND,
            width=8,
            low=0,
        ),
        TimeSeries(
            title="Switches by outcome",
            queries=[Query(happened("regulus_reconfigurations_total", "outcome"), "{{outcome}}")],
            bars=True,
            low=0,
        ),
        TimeSeries(
            title="Rollbacks",
            queries=[Query(happened("regulus_rollbacks_total", "model"), "{{model}}")],
            bars=True,
            low=0,
        ),
    ],
)

FLEET = Dashboard(
    uid="regulus-fleet",
    title="Regulus / Fleet",
    about="All models and all nodes at a glance, and Regulus's own health.",
    rows=[_MODELS, _NODES, _PROCESSES, _REGULUS],
)
