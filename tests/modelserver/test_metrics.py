from __future__ import annotations

import math
import re
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.modelserver.metric_families import MAX_SERIES
from service.modelserver.metrics import FINE_LATENCY_BOUNDS, ServerMetrics

FAMILIES = {
    ":tensorflow:serving:request_count": "counter",
    ":tensorflow:serving:request_latency": "histogram",
    ":tensorflow:serving:runtime_latency": "histogram",
    ":tensorflow:serving:request_example_counts": "histogram",
    ":tensorflow:serving:request_example_count_total": "counter",
    ":tensorflow:serving:model_warmup_latency": "histogram",
    ":tensorflow:serving:batching_session:queuing_latency": "histogram",
    ":tensorflow:serving:batching_session:wrapped_run_count": "counter",
    ":tensorflow:serving:batching_session:padding_size": "histogram",
    ":tensorflow:serving:batching_session:input_batch_size": "histogram",
    ":tensorflow:serving:batching_session:processed_batch_size": "histogram",
    ":tensorflow:core:graph_runs": "counter",
    ":tensorflow:core:graph_run_time_usecs": "counter",
    ":tensorflow:cc:saved_model:load_attempt_count": "counter",
    ":tensorflow:cc:saved_model:load_latency": "counter",
    "regulus_modelserver_request_latency_seconds": "histogram",
    "regulus_modelserver_interarrival_seconds_count": "counter",
    "regulus_modelserver_interarrival_seconds_sum": "counter",
    "regulus_modelserver_interarrival_seconds_sum_of_squares": "counter",
    "regulus_modelserver_generation": "gauge",
    "regulus_modelserver_inflight_requests": "gauge",
}


def lines(metrics: ServerMetrics, prefix: str) -> list[str]:
    return [line for line in metrics.render().splitlines() if line.startswith(prefix)]


def buckets(metrics: ServerMetrics, name: str) -> dict[str, int]:
    """Cumulated counts by edge, of a family with one label set."""
    found = {}
    for line in lines(metrics, name + "_bucket{"):
        before, count = line.rsplit(" ", 1)
        found[before.rsplit('le="', 1)[1].removesuffix('"}')] = int(count)
    return found


def test_every_family_is_announced_with_its_type_and_nothing_else() -> None:
    comments = [line for line in ServerMetrics().render().splitlines() if line.startswith("#")]
    assert sorted(comments) == sorted(f"# TYPE {name} {kind}" for name, kind in FAMILIES.items())


def test_request_count_has_tensorflow_servings_labels() -> None:
    metrics = ServerMetrics()
    metrics.request("m", "Predict", "GRPC", "OK", 0.001)
    metrics.request("m", "Predict", "GRPC", "UNAVAILABLE", 0.001)
    metrics.request("m", "predict", "REST", "OK", 0.001)
    assert lines(metrics, ":tensorflow:serving:request_count{") == [
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 2',
        ':tensorflow:serving:request_count{model_name="m",status="UNAVAILABLE"} 1',
    ]


def test_latency_counts_successes_only_in_microseconds_and_in_seconds() -> None:
    metrics = ServerMetrics()
    metrics.request("m", "Predict", "GRPC", "OK", 0.001)
    metrics.request("m", "Predict", "GRPC", "INTERNAL", 5.0)
    assert lines(metrics, ":tensorflow:serving:request_latency_sum") == [
        ':tensorflow:serving:request_latency_sum{model_name="m",API="Predict",entrypoint="GRPC"} 1000'
    ]
    assert lines(metrics, "regulus_modelserver_request_latency_seconds_sum") == [
        'regulus_modelserver_request_latency_seconds_sum{model_name="m",api="Predict",entrypoint="GRPC"} 0.001'
    ]
    coarse = buckets(metrics, ":tensorflow:serving:request_latency")
    assert (coarse["612.22"], coarse["1102"], coarse["+Inf"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("name", "start", "factor", "count"),
    [
        (":tensorflow:serving:request_latency", 10, 1.8, 33),
        (":tensorflow:serving:runtime_latency", 10, 1.8, 33),
        (":tensorflow:serving:model_warmup_latency", 10, 1.8, 33),
        (":tensorflow:serving:request_example_counts", 1, 2, 15),
        (":tensorflow:serving:batching_session:queuing_latency", 100, 1.2, 52),
        (":tensorflow:serving:batching_session:padding_size", 1, 2, 14),
        (":tensorflow:serving:batching_session:input_batch_size", 1, 2, 14),
        (":tensorflow:serving:batching_session:processed_batch_size", 1, 2, 14),
    ],
)
def test_buckets_are_those_of_tensorflow_serving(name: str, start: float, factor: float, count: int) -> None:
    metrics = ServerMetrics()
    metrics.request("m", "Predict", "GRPC", "OK", 0.001)
    metrics.runtime("m", "Predict", "TF1", 0.001)
    metrics.warmup("/m/1", True, 0.001)
    metrics.examples("m", 1)
    metrics.batch([0.001], 1, 1)
    edges = list(buckets(metrics, name))
    assert edges == [f"{start * factor**i:g}" for i in range(count)] + ["+Inf"]


def test_a_value_on_an_edge_lies_above_it_as_in_tensorflow() -> None:
    metrics = ServerMetrics()
    metrics.batch([0.0], input_size=4, processed_size=4)
    found = buckets(metrics, ":tensorflow:serving:batching_session:processed_batch_size")
    assert (found["4"], found["8"]) == (0, 1)


def test_the_fine_view_reaches_a_minute_in_steps_of_ten_percent() -> None:
    assert FINE_LATENCY_BOUNDS[0] == pytest.approx(100e-6)
    assert FINE_LATENCY_BOUNDS[-1] >= 60
    for below, above in pairwise(FINE_LATENCY_BOUNDS):
        assert above == pytest.approx(1.1 * below)


def test_a_batch_is_told_with_its_waits_its_size_and_its_padding() -> None:
    metrics = ServerMetrics()
    metrics.batch([0.0001, 0.0002], input_size=3, processed_size=8)
    prefix = ":tensorflow:serving:batching_session:"
    assert lines(metrics, prefix + "wrapped_run_count{") == [prefix + "wrapped_run_count{} 1"]
    assert lines(metrics, prefix + "queuing_latency_count") == [prefix + 'queuing_latency_count{thread_pool_name=""} 2']
    assert lines(metrics, prefix + "queuing_latency_sum") == [prefix + 'queuing_latency_sum{thread_pool_name=""} 300']
    assert lines(metrics, prefix + "input_batch_size_sum") == [prefix + "input_batch_size_sum{} 3"]
    assert lines(metrics, prefix + "processed_batch_size_sum") == [prefix + "processed_batch_size_sum{} 8"]
    assert lines(metrics, prefix + "padding_size_sum") == [prefix + 'padding_size_sum{execution_batch_size="8"} 5']


def test_loads_warm_ups_and_graph_runs_are_counted() -> None:
    metrics = ServerMetrics()
    metrics.load("/m/1", True, 0.25)
    metrics.load("/m/2", False, 9.0)
    metrics.warmup("/m/1", True, 0.5)
    metrics.graph_run(0.002)
    metrics.examples("m", 7)
    page = metrics.render()
    for line in (
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/m/1",status="success"} 1',
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/m/2",status="fail"} 1',
        ':tensorflow:cc:saved_model:load_latency{model_path="/m/1"} 250000',
        ':tensorflow:serving:model_warmup_latency_count{model_path="/m/1",status="OK"} 1',
        ":tensorflow:core:graph_runs{} 1",
        ":tensorflow:core:graph_run_time_usecs{} 2000",
        ':tensorflow:serving:request_example_count_total{model="m"} 7',
        ':tensorflow:serving:request_example_counts_sum{model="m"} 7',
    ):
        assert line in page.splitlines()
    assert 'load_latency{model_path="/m/2"}' not in page


def test_gaps_between_arrivals_give_rate_and_burstiness() -> None:
    metrics = ServerMetrics()
    for at in (10.0, 10.5, 12.5):
        metrics.arrival("m", at)
    name = "regulus_modelserver_interarrival_seconds_"
    assert lines(metrics, name + "count{") == [name + 'count{model_name="m"} 2']
    assert lines(metrics, name + "sum{") == [name + 'sum{model_name="m"} 2.5']
    assert lines(metrics, name + "sum_of_squares{") == [name + 'sum_of_squares{model_name="m"} 4.25']


def test_requests_in_flight_are_those_that_arrived_and_were_not_answered() -> None:
    metrics = ServerMetrics()
    metrics.arrival("m", 1.0)
    metrics.arrival("m", 1.0)
    metrics.request("m", "Predict", "GRPC", "OK", 0.1)
    metrics.generation(7)
    assert "regulus_modelserver_inflight_requests{} 1" in metrics.render()
    assert "regulus_modelserver_generation{} 7" in metrics.render()


def test_names_from_clients_are_escaped_and_cannot_fill_the_page() -> None:
    metrics = ServerMetrics()
    hostile = 'a"b\\c\nd'
    metrics.request(hostile, "Predict", "GRPC", "NOT_FOUND", 0.1)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render())}
    (sample,) = families[":tensorflow:serving:request_count"].samples
    assert sample.labels == {"model_name": hostile, "status": "NOT_FOUND"}
    for number in range(3 * MAX_SERIES):
        metrics.arrival(f"guess-{number}", float(number))
        metrics.request(f"guess-{number}", "Predict", "GRPC", "NOT_FOUND", 0.1)
    counted = lines(metrics, ":tensorflow:serving:request_count{")
    assert len(counted) == MAX_SERIES + 1
    assert sum(int(line.rsplit(" ", 1)[1]) for line in counted) == 3 * MAX_SERIES + 1
    assert "(other)" in counted[0]


def test_the_page_is_read_by_prometheus_own_parser() -> None:
    metrics = ServerMetrics()
    metrics.arrival("m", 1.0)
    metrics.request("m", "Predict", "GRPC", "OK", 0.0123)
    metrics.batch([0.001], 3, 4)
    metrics.graph_run(0.01)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render())}
    # The parser strips ``_total`` from the names of counters.
    assert {name.removesuffix("_total") for name in FAMILIES} == set(families)
    latency = families[":tensorflow:serving:request_latency"]
    values = [sample.value for sample in latency.samples if sample.name.endswith("_bucket")]
    assert values == sorted(values)
    edges = [float(s.labels["le"]) for s in latency.samples if s.name.endswith("_bucket")]
    assert edges == sorted(edges)
    assert edges[-1] == math.inf


def test_nothing_is_lost_when_threads_report_at_once() -> None:
    metrics = ServerMetrics()

    def report() -> None:
        for _ in range(500):
            metrics.arrival("m", 1.0)
            metrics.request("m", "Predict", "GRPC", "OK", 0.001)

    threads = [threading.Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2000' in metrics.render()
    assert "regulus_modelserver_inflight_requests{} 0" in metrics.render()


def test_each_of_our_own_families_is_told_of_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(regulus_modelserver_\w+)` \|", text, re.MULTILINE))
    assert described == {name for name in FAMILIES if name.startswith("regulus_")}
