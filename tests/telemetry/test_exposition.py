from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import TelemetryError
from service.modelserver.metrics import FINE_LATENCY_BOUNDS, ServerMetrics
from service.telemetry.exposition import read_page
from service.telemetry.reading import Interarrivals, Reading

COARSE = ":tensorflow:serving:request_latency"

# As TensorFlow Serving 2.x prints it (util/prometheus_exporter.cc): TYPE lines only, colons for slashes, an empty
# pair of braces where there are no labels, sums with six digits, other metrics in between.
TENSORFLOW_SERVING_PAGE = """\
# TYPE :tensorflow:cc:saved_model:load_attempt_count counter
:tensorflow:cc:saved_model:load_attempt_count{model_path="/models/resnet/1",status="success"} 1
# TYPE :tensorflow:core:graph_runs counter
:tensorflow:core:graph_runs{} 12
# TYPE :tensorflow:serving:batching_session:processed_batch_size histogram
:tensorflow:serving:batching_session:processed_batch_size_bucket{le="1"} 0
:tensorflow:serving:batching_session:processed_batch_size_bucket{le="2"} 3
:tensorflow:serving:batching_session:processed_batch_size_bucket{le="+Inf"} 4
:tensorflow:serving:batching_session:processed_batch_size_sum{} 11
:tensorflow:serving:batching_session:processed_batch_size_count{} 4
# TYPE :tensorflow:serving:batching_session:queuing_latency histogram
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="",le="100"} 5
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="",le="+Inf"} 6
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name=""} 700
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name=""} 6
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="resnet",status="OK"} 9
:tensorflow:serving:request_count{model_name="resnet",status="UNAVAILABLE"} 2
:tensorflow:serving:request_count{model_name="other",status="OK"} 100
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="resnet",API="Predict",entrypoint="GRPC",le="10"} 1
:tensorflow:serving:request_latency_bucket{model_name="resnet",API="Predict",entrypoint="GRPC",le="18"} 4
:tensorflow:serving:request_latency_bucket{model_name="resnet",API="Predict",entrypoint="GRPC",le="+Inf"} 5
:tensorflow:serving:request_latency_sum{model_name="resnet",API="Predict",entrypoint="GRPC"} 1.23457e+06
:tensorflow:serving:request_latency_count{model_name="resnet",API="Predict",entrypoint="GRPC"} 5
:tensorflow:serving:request_latency_bucket{model_name="resnet",API="Predict",entrypoint="REST",le="10"} 0
:tensorflow:serving:request_latency_bucket{model_name="resnet",API="Predict",entrypoint="REST",le="18"} 0
:tensorflow:serving:request_latency_bucket{model_name="resnet",API="Predict",entrypoint="REST",le="+Inf"} 4
:tensorflow:serving:request_latency_sum{model_name="resnet",API="Predict",entrypoint="REST"} 80
:tensorflow:serving:request_latency_count{model_name="resnet",API="Predict",entrypoint="REST"} 4
:tensorflow:serving:request_latency_bucket{model_name="other",API="Predict",entrypoint="GRPC",le="10"} 100
:tensorflow:serving:request_latency_bucket{model_name="other",API="Predict",entrypoint="GRPC",le="18"} 100
:tensorflow:serving:request_latency_bucket{model_name="other",API="Predict",entrypoint="GRPC",le="+Inf"} 100
:tensorflow:serving:request_latency_sum{model_name="other",API="Predict",entrypoint="GRPC"} 500
:tensorflow:serving:request_latency_count{model_name="other",API="Predict",entrypoint="GRPC"} 100
"""


def read(text: str, model: str = "resnet") -> Reading:
    return read_page(text, model=model, monotonic=1.0, time=2.0)


def test_latencies_of_all_entrypoints_are_added_and_turned_into_seconds() -> None:
    latency = read(TENSORFLOW_SERVING_PAGE).latency
    assert latency is not None
    assert latency.bounds == pytest.approx((10e-6, 18e-6))
    assert latency.counts == (1, 3, 5)
    assert latency.total == pytest.approx(1.23465)


def test_requests_are_counted_by_status_and_other_models_apart() -> None:
    reading = read(TENSORFLOW_SERVING_PAGE)
    assert reading.requests == {"OK": 9, "UNAVAILABLE": 2}
    assert reading.foreign_requests == 100
    assert reading.arrivals == 11


def test_batches_and_their_queueing_are_read_from_metrics_without_a_model() -> None:
    reading = read(TENSORFLOW_SERVING_PAGE)
    assert reading.batch_size is not None
    assert reading.batch_size.counts == (0, 3, 1)
    assert reading.batch_size.mean == 11 / 4
    assert reading.queueing is not None
    assert reading.queueing.bounds == (pytest.approx(100e-6),)
    assert reading.queueing.mean == pytest.approx(700e-6 / 6)


def test_a_model_without_traffic_has_a_reading_without_latencies() -> None:
    reading = read(TENSORFLOW_SERVING_PAGE, model="idle")
    assert reading.latency is None
    assert reading.requests == {}
    assert reading.foreign_requests == 111


def coarse_series(labels: str, edge: int, count: int) -> str:
    return (
        f'{COARSE}_bucket{{{labels},le="{edge}"}} {count}\n'
        f'{COARSE}_bucket{{{labels},le="+Inf"}} {count}\n'
        f"{COARSE}_sum{{{labels}}} {count}\n"
    )


def test_newer_servers_label_latency_with_the_status_and_only_ok_counts() -> None:
    page = coarse_series('model_name="m",status="OK"', 10, 3) + coarse_series('model_name="m",status="INTERNAL"', 10, 7)
    latency = read(page, "m").latency
    assert latency is not None
    assert latency.count == 3


def embedded_page() -> str:
    metrics = ServerMetrics()
    metrics.generation(7)
    for number in range(20):
        metrics.arrival("m", 10.0 + 0.1 * number)
        metrics.request("m", "Predict", "GRPC", "OK", 0.0123)
        metrics.examples("m", 3)
    metrics.arrival("m", 12.0)
    metrics.request("m", "Predict", "REST", "UNAVAILABLE", 0.0)
    metrics.batch([0.001, 0.002], 2, 4)
    return metrics.render()


def test_the_embedded_servers_finer_latency_is_preferred() -> None:
    reading = read(embedded_page(), "m")
    assert reading.latency_metric == "regulus_modelserver_request_latency_seconds"
    assert reading.latency is not None
    assert len(reading.latency.bounds) == len(FINE_LATENCY_BOUNDS)
    interval = reading.latency.quantile_interval(0.5)
    assert interval.low < 0.0123 < interval.high < 1.11 * interval.low


def test_everything_the_embedded_server_tells_is_read() -> None:
    reading = read(embedded_page(), "m")
    assert reading.requests == {"OK": 20, "UNAVAILABLE": 1}
    assert reading.generation == 7
    assert reading.interarrivals is not None
    assert reading.interarrivals.count == 20
    assert reading.interarrivals.total == pytest.approx(2.0)
    assert reading.interarrivals.total_of_squares == pytest.approx(0.2)
    assert reading.request_examples is not None
    assert reading.request_examples.mean == 3.0
    assert reading.batch_size is not None
    assert reading.batch_size.mean == 4.0
    assert reading.queueing is not None
    assert reading.queueing.mean == pytest.approx(0.0015)


def test_without_the_finer_metric_the_same_page_is_read_from_the_coarse_one() -> None:
    page = "".join(line for line in embedded_page().splitlines(keepends=True) if "regulus" not in line)
    reading = read(page, "m")
    assert reading.latency_metric == COARSE
    assert reading.latency is not None
    assert reading.latency.count == 20
    assert reading.interarrivals is None


def test_a_models_name_may_hold_quotes_backslashes_line_feeds_and_braces() -> None:
    name = 'a"b\\n\n} 5'
    metrics = ServerMetrics()
    metrics.arrival(name, 1.0)
    metrics.request(name, "Predict", "GRPC", "OK", 0.5)
    reading = read(metrics.render(), name)
    assert reading.requests == {"OK": 1}
    assert reading.latency is not None
    assert reading.latency.count == 1


def test_the_time_of_start_and_a_timestamp_on_a_line_are_understood() -> None:
    reading = read(TENSORFLOW_SERVING_PAGE + "process_start_time_seconds 1.7e+09 1700000000123\n")
    assert reading.process_started_at == 1.7e9


def test_numbers_that_are_not_read_may_be_anything_prometheus_allows() -> None:
    read(TENSORFLOW_SERVING_PAGE + "some_gauge NaN\nother_gauge -Inf\nnegative -3\n")


BUCKET = f'{COARSE}_bucket{{model_name="m",le='


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        (TENSORFLOW_SERVING_PAGE[:-20], r"cut: line \d+ has no end"),
        ("node_cpu_seconds_total 3\n", "not a model server's"),
        ('{"error": "Malformed request: GET /metrics"}\n', "line 1 .* not Prometheus text"),
        ("<html>\n", "line 1 .* not Prometheus text"),
        (':tensorflow:x{a="1} 5\n:tensorflow:serving:request_count{model_name="m} 3\n', "line 2 .* labels"),
        (':tensorflow:serving:request_count{model_name="m",model_name="n"} 3\n', "line 1 .* model_name twice"),
        (':tensorflow:serving:request_count{model_name="m"} NaN\n', "line 1 .*request_count is NaN"),
        (':tensorflow:serving:request_count{model_name="m"} -1\n', "line 1 .*request_count is -1"),
        (':tensorflow:serving:request_count{model_name="m"} +Inf\n', r"line 1 .*request_count is \+Inf"),
        (':tensorflow:serving:request_count{model_name="m"} many\n', "line 1 .* not a number"),
        (f'{BUCKET}"1"}} 3\n{BUCKET}"2"}} 2\n', "line 2 .* counts 2, less than the 3"),
        (f'{BUCKET}"2"}} 3\n{BUCKET}"1"}} 3\n', "line 2 .* do not ascend"),
        (f'{BUCKET}"1"}} 3\n{BUCKET}"1"}} 3\n', "line 2 .* do not ascend"),
        (f'{BUCKET}"NaN"}} 3\n', "line 1 .* do not ascend"),
        (f'{BUCKET}"wide"}} 3\n', "line 1 .* not a number"),
        (f'{BUCKET}"1"}} 2.5\n', "line 1 .* counts 2.5"),
        (f'{COARSE}_bucket{{model_name="m"}} 3\n', "line 1 .* without le"),
        (f'{BUCKET}"1"}} 3\n{COARSE}_sum{{model_name="m"}} 3\n', r"incomplete: .* lacks its \+Inf bucket"),
        (f'{BUCKET}"+Inf"}} 3\n', "incomplete: .* or its sum"),
        (
            coarse_series('model_name="m",API="Predict"', 10, 1)
            + coarse_series('model_name="m",API="Classify"', 20, 1),
            "different buckets",
        ),
        ('regulus_modelserver_interarrival_seconds_count{model_name="m"} 3\n', "incomplete: .* lacks one of _count"),
    ],
)
def test_a_page_that_cannot_be_trusted_is_refused_with_the_place(page: str, complaint: str) -> None:
    with pytest.raises(TelemetryError, match=complaint):
        read(page, "m")


def test_a_page_cut_at_any_line_is_refused_or_misses_whole_metrics_only() -> None:
    """What remains of a histogram is either all of it or an error: half of one would look like a restart."""
    whole = read(embedded_page(), "m")
    lines = embedded_page().splitlines(keepends=True)
    refused = 0
    for kept in range(1, len(lines)):
        try:
            part = read("".join(lines[:kept]), "m")
        except TelemetryError:
            refused += 1
            continue
        assert part.batch_size in (None, whole.batch_size)
        assert part.latency is None or part.latency.count == 20
    assert refused > 200


LINES = embedded_page().splitlines(keepends=True)


@given(st.integers(0, len(LINES) - 1), st.text(max_size=40), st.integers(0, 60))
def test_a_damaged_line_never_crashes_the_reader(index: int, noise: str, place: int) -> None:
    line = LINES[index]
    damaged = line[:place] + noise + line[place:]
    try:
        reading = read("".join([*LINES[:index], damaged, *LINES[index + 1 :]]), "m")
    except TelemetryError:
        return
    assert reading.arrivals >= 0


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(TelemetryError, match="metrics page"):
        read(text, "m")


def test_unreadable_lines_are_shortened_in_the_error() -> None:
    with pytest.raises(TelemetryError) as caught:
        read("x" * 10_000 + "\n")
    assert len(str(caught.value)) < 200


def test_moments_of_gaps_are_differences_of_sums() -> None:
    assert Interarrivals(5, 3.0, 2.0).minus(Interarrivals(2, 1.0, 0.5)) == Interarrivals(3, 2.0, 1.5)
