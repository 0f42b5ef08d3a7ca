"""The metrics page: what the control service's own reader makes of it."""

from __future__ import annotations

from service.node.envoy_stats import felt
from service.node.metrics_page import ServerTotals, code_name, page
from service.telemetry.exposition import read_page

ENVOY = """\
# TYPE envoy_regulus_front_grpc_requests counter
envoy_regulus_front_grpc_requests{status="200_0"} 7
envoy_regulus_front_grpc_requests{status="200_14"} 2
envoy_regulus_front_grpc_requests{status="0_2"} 1
envoy_regulus_front_rest_requests{status="200"} 3
envoy_regulus_front_rest_requests{status="429"} 4
# TYPE envoy_regulus_front_grpc_latency histogram
envoy_regulus_front_grpc_latency_bucket{le="100"} 0
envoy_regulus_front_grpc_latency_bucket{le="50000"} 6
envoy_regulus_front_grpc_latency_bucket{le="+Inf"} 7
envoy_regulus_front_grpc_latency_sum{} 150000.5
envoy_regulus_front_grpc_latency_count{} 7
envoy_regulus_front_rest_latency_bucket{le="100"} 1
envoy_regulus_front_rest_latency_bucket{le="50000"} 3
envoy_regulus_front_rest_latency_bucket{le="+Inf"} 3
envoy_regulus_front_rest_latency_sum{} 20000
envoy_regulus_front_rest_latency_count{} 3
envoy_server_live{} 1
"""


def batches(count: int, total: int) -> str:
    name = ":tensorflow:serving:batching_session:processed_batch_size"
    return (
        f"# TYPE {name} histogram\n"
        f'{name}_bucket{{le="1"}} 0\n{name}_bucket{{le="8"}} {count}\n{name}_bucket{{le="+Inf"}} {count}\n'
        f"{name}_sum{{}} {total}\n{name}_count{{}} {count}\n"
        "# TYPE :tensorflow:serving:request_count counter\n"
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 999\n'
    )


def test_the_control_services_reader_finds_latency_counts_batches_and_generation() -> None:
    totals = ServerTotals()
    totals.saw("one", batches(10, 40))
    totals.saw("two", batches(1, 8))
    text = page("m", felt(ENVOY), totals, generation=5, front_started_at=1234.5)
    reading = read_page(text, model="m", monotonic=0.0, time=0.0)
    assert reading.latency_metric == "regulus_modelserver_request_latency_seconds"
    assert reading.latency is not None
    assert (reading.latency.bounds, reading.latency.counts) == ((0.0001, 0.05), (1, 8, 1))
    assert reading.latency.total == 0.1700005
    assert reading.requests == {"OK": 10, "UNAVAILABLE": 2, "CANCELLED": 1, "RESOURCE_EXHAUSTED": 4}
    assert reading.batch_size is not None
    assert (reading.batch_size.count, reading.batch_size.total) == (11, 48)
    assert (reading.generation, reading.process_started_at) == (5, 1234.5)
    assert reading.foreign_requests == 0


def test_a_client_that_gave_up_after_the_bound_was_not_served_in_time_and_one_that_left_before_has_its_reasons() -> (
    None
):
    late = 'envoy_regulus_front_grpc_late{status="0_2"} 3\nenvoy_regulus_front_grpc_late{status="200_0"} 2\n'
    seen = felt(ENVOY.replace('{status="0_2"} 1', '{status="0_2"} 5') + late)
    reading = read_page(
        page("m", seen, ServerTotals(), generation=0, front_started_at=1.0), model="m", monotonic=0.0, time=0.0
    )
    assert reading.requests == {
        "OK": 10,
        "UNAVAILABLE": 2,
        "CANCELLED": 2,
        "DEADLINE_EXCEEDED": 3,
        "RESOURCE_EXHAUSTED": 4,
    }


def test_what_a_canary_and_those_beside_it_did_is_told_apart_and_is_part_of_the_whole() -> None:
    roles = ENVOY.replace('{status="200_0"} 7', '{status="200_0",role="none"} 7').replace(
        "latency_bucket{", 'latency_bucket{role="none",'
    )
    tried = ""
    for role, count in (("canary", 2), ("control", 3)):
        prefix = "envoy_regulus_front_grpc"
        tried += f'{prefix}_requests{{status="200_0",role="{role}"}} {count}\n'
        tried += "".join(f'{prefix}_latency_bucket{{role="{role}",le="{e}"}} {count}\n' for e in (100, 50000, "+Inf"))
        tried += f'{prefix}_latency_sum{{role="{role}"}} {count * 50}\n'
    text = page("m", felt(roles + tried), ServerTotals(), generation=5, front_started_at=1.0)
    reading = read_page(text, model="m", monotonic=0.0, time=0.0)
    assert reading.latency is not None
    assert (reading.latency.count, reading.requests["OK"]) == (10 + 5, 10 + 5)
    assert set(reading.by_role) == {"canary", "control"}
    canary = reading.by_role["canary"]
    assert canary.latency is not None
    assert (canary.requests, canary.latency.counts) == ({"OK": 2}, (2, 0, 0))


def test_before_the_first_request_it_is_a_server_without_requests() -> None:
    text = page("m", felt(""), ServerTotals(), generation=0, front_started_at=1.0)
    reading = read_page(text, model="m", monotonic=0.0, time=0.0)
    assert (reading.latency, reading.requests, reading.generation) == (None, {}, 0)


def test_sums_never_go_down_when_a_process_ends_or_does_not_answer() -> None:
    totals = ServerTotals()
    totals.saw("old", batches(10, 40))
    totals.saw("new", batches(1, 8))
    before = totals.lines()
    totals.gone("old")
    assert totals.lines() == before
    totals.saw("new", batches(2, 16))
    assert any(line.endswith("_count{} 12") for line in totals.lines())
    totals.keep_only([])
    totals.saw("third", batches(1, 1))
    assert any(line.endswith("_count{} 13") for line in totals.lines())


def test_what_is_no_number_is_left_out() -> None:
    totals = ServerTotals()
    totals.saw(
        "one", "# TYPE :tensorflow:core:graph_runs counter\n:tensorflow:core:graph_runs{} 3\n:tensorflow:core:gr"
    )
    assert totals.lines() == ["# TYPE :tensorflow:core:graph_runs counter", ":tensorflow:core:graph_runs{} 3"]


def test_statuses_of_both_protocols_are_canonical_codes() -> None:
    assert [code_name("grpc", status) for status in ("200_0", "200_8", "200_14", "200_99", "0_2")] == [
        "OK",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "UNKNOWN",
        "CANCELLED",
    ]
    assert [code_name("rest", status) for status in ("200", "400", "503", "500", "0", "418")] == [
        "OK",
        "INVALID_ARGUMENT",
        "UNAVAILABLE",
        "INTERNAL",
        "CANCELLED",
        "INTERNAL",
    ]
