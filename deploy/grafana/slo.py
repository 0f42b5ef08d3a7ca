"""SLO: is the promise kept, and how much may still go wrong?"""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panel import GREEN, RED, YELLOW, Query, Unit
from deploy.grafana.variables import MODEL, SWITCHES
from deploy.grafana.visuals import Heatmap, Stat, TimeSeries

_BUDGET = 'model:regulus_slo_error_budget:ratio{model="$model"}'
_TARGET = Query('model:regulus_slo_latency_target:seconds{model="$model"}', "objective", dashed=True)


def _burn(window: str) -> Query:
    ratio = f'model:regulus_slo_violation:ratio{window}{{model="$model"}}'
    return Query(f"{ratio} / on (model) {_BUDGET}", window)


_NOW = Row(
    "Now",
    [
        Stat(
            title="Objective",
            about="Latency that the objective's percentile must not exceed.",
            queries=[Query('model:regulus_slo_latency_target:seconds{model="$model"}')],
            unit=Unit.SECONDS,
            width=4,
            height=4,
        ),
        Stat(
            title="p99",
            about="Of the last minute.",
            queries=[Query('model:regulus_latency:p99_1m{model="$model"}')],
            unit=Unit.SECONDS,
            width=4,
            height=4,
        ),
        Stat(
            title="Within the objective, 1 h",
            about="Share of requests answered in time. Refused and failed ones were not.",
            queries=[Query('1 - model:regulus_slo_violation:ratio1h{model="$model"}')],
            unit=Unit.RATIO,
            width=4,
            height=4,
            decimals=2,
        ),
        Stat(
            title="Burn rate, 1 h",
            about="1 spends exactly the budget. 14.4 for an hour spends a fiftieth of 30 days' budget, and pages.",
            queries=[_burn("1h")],
            unit=Unit.MULTIPLE,
            width=4,
            height=4,
            decimals=1,
            steps=[(0, GREEN), (1, YELLOW), (14.4, RED)],
        ),
        Stat(
            title="Budget left, 30 d",
            about="Share of the error budget of 30 days that is left; time not remembered counts as well.",
            queries=[Query('model:regulus_error_budget_remaining:ratio30d{model="$model"}')],
            unit=Unit.RATIO,
            width=4,
            height=4,
            steps=[(-1, RED), (0, YELLOW), (0.5, GREEN)],
        ),
        Stat(
            title="Alerts firing",
            about="Of this model and of Regulus itself; docs/runbook.md has an entry for each.",
            queries=[
                Query('count(ALERTS{alertname=~"Regulus.*", alertstate="firing", model=~"$model|"}) or vector(0)'),
            ],
            width=4,
            height=4,
            steps=[(0, GREEN), (1, RED)],
        ),
    ],
)

_LATENCY = Row(
    "Latency",
    [
        TimeSeries(
            title="Latency against the objective",
            about="From the finest histogram there is. With TensorFlow Serving's own buckets, which grow by 1.8, a "
            "percentile may be off by as much.",
            queries=[
                Query('model:regulus_latency:p50_1m{model="$model"}', "p50"),
                Query('model:regulus_latency:p99_1m{model="$model"}', "p99"),
                _TARGET,
            ],
            unit=Unit.SECONDS,
            low=0,
        ),
        Heatmap(
            title="Latencies",
            about="How many requests took how long, in seconds (microseconds where there is only TensorFlow Serving's "
            "own histogram). Two bands mean two kinds of requests, or two states of the server.",
            queries=[
                Query(
                    'sum by (le) (source_model_le:regulus_latency_bucket:rate1m{model="$model", source="regulus"} '
                    "or on (model) "
                    'source_model_le:regulus_latency_bucket:rate1m{model="$model", source="tensorflow"})',
                    "{{le}}",
                )
            ],
            unit=Unit.NONE,
        ),
        TimeSeries(
            title="Requests that broke the objective",
            about="Share of all requests. Above the line the budget shrinks faster than it grows back.",
            queries=[
                Query('model:regulus_slo_violation:ratio5m{model="$model"}', "5 m"),
                Query('model:regulus_slo_violation:ratio1h{model="$model"}', "1 h"),
                Query(_BUDGET, "budget", dashed=True),
            ],
            unit=Unit.RATIO,
            low=0,
        ),
        TimeSeries(
            title="How sure: share surely and perhaps within",
            about="Where the objective lies between two edges of the histogram, the truth lies between these lines.",
            queries=[
                Query(
                    'source_model:regulus_surely_within_slo:rate1m{model="$model"} '
                    '/ source_model:regulus_served:rate1m{model="$model"}',
                    "{{source}}: surely",
                ),
                Query(
                    'source_model:regulus_perhaps_within_slo:rate1m{model="$model"} '
                    '/ source_model:regulus_served:rate1m{model="$model"}',
                    "{{source}}: perhaps",
                ),
            ],
            unit=Unit.RATIO,
            high=1,
        ),
    ],
)

_ERROR_BUDGET = Row(
    "Error budget",
    [
        TimeSeries(
            title="Burn rate by window",
            about="Pages: 14.4 over 1 h and 5 m, 6 over 6 h and 30 m. Tickets: 3 over 1 d and 2 h, 1 over 3 d and 6 h.",
            queries=[_burn(window) for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")],
            unit=Unit.MULTIPLE,
            width=8,
            low=0,
            steps=[(0, GREEN), (1, YELLOW), (14.4, RED)],
        ),
        TimeSeries(
            title="Burn rate as the loop sees it",
            about="From the windows it judged. 14.4 over 5m and 1h: back to the last known good where that helps, and "
            "no experiments for a while. 6 over 30m and 6h: only what is known is used.",
            queries=[Query('regulus_error_budget_burn_rate{model="$model"}', "{{window}}")],
            unit=Unit.MULTIPLE,
            width=8,
            low=0,
            steps=[(0, GREEN), (6, YELLOW), (14.4, RED)],
        ),
        TimeSeries(
            title="Budget left over time",
            about="From Prometheus, for whom days that it does not remember were like those that it does; and as the "
            "loop sees it, for whom they were kept. In the first days the two differ.",
            queries=[
                Query('model:regulus_error_budget_remaining:ratio30d{model="$model"}', "left"),
                Query('regulus_error_budget_remaining_ratio{model="$model"}', "left, as the loop sees it"),
            ],
            unit=Unit.RATIO,
            width=8,
            high=1,
            steps=[(-1, RED), (0, RED)],
        ),
    ],
)

_WORKLOAD = Row(
    "Workload",
    [
        TimeSeries(
            title="Requests",
            queries=[
                Query('model:regulus_requests:rate1m{model="$model"}', "all"),
                Query('model:regulus_served:rate1m{model="$model"}', "answered"),
            ],
            unit=Unit.PER_SECOND,
            low=0,
        ),
        TimeSeries(
            title="Not answered",
            about="Refused: the queue was full. Failed: everything else that is the server's fault.",
            queries=[
                Query('model:regulus_rejections:rate1m{model="$model"}', "refused"),
                Query(
                    'model:regulus_failures:rate1m{model="$model"} - model:regulus_rejections:rate1m{model="$model"}',
                    "failed",
                ),
            ],
            unit=Unit.PER_SECOND,
            low=0,
        ),
    ],
)

SLO = Dashboard(
    uid="regulus-slo",
    title="Regulus / SLO",
    about="Is the promise kept, and how much may still go wrong?",
    variables=[MODEL],
    annotations=[SWITCHES],
    rows=[_NOW, _LATENCY, _ERROR_BUDGET, _WORKLOAD],
)
