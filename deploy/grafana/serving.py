"""Serving: what happens inside the model servers: batches, queues, refusals, load by node.

TensorFlow Serving's batching metrics carry no model label: with several models on one server they are of all of them.
"""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panel import Query, Unit
from deploy.grafana.variables import INSTANCE, MODEL, SWITCHES
from deploy.grafana.visuals import TimeSeries

_MODEL = 'model_name="$model", instance=~"$instance"'
_NODE = 'instance=~"$instance"'
_BATCHING = ":tensorflow:serving:batching_session:"


def _rate(metric: str, selector: str, by: str = "instance") -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"


def _mean(histogram: str, selector: str) -> str:
    return f"{_rate(f'{histogram}_sum', selector)} / {_rate(f'{histogram}_count', selector)}"


def _quantile(share: float, histogram: str, selector: str, by: str = "instance") -> str:
    return f"histogram_quantile({share}, {_rate(f'{histogram}_bucket', selector, f'{by}, le')})"


def _latency(share: float, by: str) -> Query:
    fine = _quantile(share, "regulus_modelserver_request_latency_seconds", _MODEL, by)
    coarse = _quantile(share, ":tensorflow:serving:request_latency", _MODEL, by)
    return Query(f"{fine} or 1e-6 * {coarse}", f"{{{{{by}}}}} p{share * 100:g}")


_REQUESTS = Row(
    "Requests",
    [
        TimeSeries(
            title="Answers by status",
            queries=[Query(_rate(":tensorflow:serving:request_count", _MODEL, "status"), "{{status}}")],
            unit=Unit.PER_SECOND,
            low=0,
        ),
        TimeSeries(
            title="Requests by node",
            queries=[Query(_rate(":tensorflow:serving:request_count", _MODEL), "{{instance}}")],
            unit=Unit.PER_SECOND,
            low=0,
        ),
        TimeSeries(
            title="Latency by entry point",
            about="Behind Envoy: as clients feel it. From TensorFlow Serving's own histogram where there is no finer "
            "one; its buckets grow by 1.8.",
            queries=[_latency(0.5, "entrypoint"), _latency(0.99, "entrypoint")],
            unit=Unit.SECONDS,
            low=0,
        ),
        TimeSeries(
            title="Time in the runtime",
            about="What the model takes; with batching on, this includes the wait for the batch.",
            queries=[
                Query(_quantile(0.5, ":tensorflow:serving:runtime_latency", _MODEL), "{{instance}} p50"),
                Query(_quantile(0.99, ":tensorflow:serving:runtime_latency", _MODEL), "{{instance}} p99"),
            ],
            unit=Unit.MICROSECONDS,
            low=0,
        ),
    ],
)

_BATCHES = Row(
    "Batches (of all models of the node; empty while batching is off)",
    [
        TimeSeries(
            title="Batch size",
            about="Near 1, batching does nothing: too few requests at once, or the server's threads cap them.",
            queries=[
                Query(_mean(f"{_BATCHING}processed_batch_size", _NODE), "{{instance}} mean"),
                Query(_quantile(0.9, f"{_BATCHING}processed_batch_size", _NODE), "{{instance}} p90"),
            ],
            low=0,
        ),
        TimeSeries(
            title="Batches",
            queries=[Query(_rate(f"{_BATCHING}wrapped_run_count", _NODE), "{{instance}}")],
            unit=Unit.TIMES_PER_SECOND,
            low=0,
        ),
        TimeSeries(
            title="Wait for the batch",
            queries=[
                Query(_quantile(0.5, f"{_BATCHING}queuing_latency", _NODE), "{{instance}} p50"),
                Query(_quantile(0.99, f"{_BATCHING}queuing_latency", _NODE), "{{instance}} p99"),
            ],
            unit=Unit.MICROSECONDS,
            low=0,
        ),
        TimeSeries(
            title="Padding",
            about="Share of the examples executed that only fill a batch up to an allowed size: work for nothing.",
            queries=[
                Query(
                    f"{_rate(f'{_BATCHING}padding_size_sum', _NODE)} "
                    f"/ {_rate(f'{_BATCHING}processed_batch_size_sum', _NODE)}",
                    "{{instance}}",
                )
            ],
            unit=Unit.RATIO,
            low=0,
        ),
    ],
)

_LIMITS = Row(
    "Limits",
    [
        TimeSeries(
            title="Refused",
            about="UNAVAILABLE: the batch queue was full. RESOURCE_EXHAUSTED: no thread of the server was free.",
            queries=[Query('model:regulus_rejections:rate1m{model="$model"}', "refused")],
            unit=Unit.PER_SECOND,
            width=8,
            low=0,
        ),
        TimeSeries(
            title="Model runs",
            about="Mean time of one run of the graph: what a batch costs.",
            queries=[
                Query(
                    f"{_rate(':tensorflow:core:graph_run_time_usecs', _NODE)} "
                    f"/ {_rate(':tensorflow:core:graph_runs', _NODE)}",
                    "{{instance}}",
                )
            ],
            unit=Unit.MICROSECONDS,
            width=8,
            low=0,
        ),
        TimeSeries(
            title="Generation",
            about="Number of the configuration in force; each switch adds one. Nodes of one model should agree.",
            queries=[Query(f"regulus_modelserver_generation{{{_NODE}}}", "{{instance}}")],
            width=8,
            stepped=True,
            low=0,
        ),
    ],
)

SERVING = Dashboard(
    uid="regulus-serving",
    title="Regulus / Serving",
    about="What happens inside the model servers: batches, queues, refusals, load by node.",
    variables=[MODEL, INSTANCE],
    annotations=[SWITCHES],
    rows=[_REQUESTS, _BATCHES, _LIMITS],
)
