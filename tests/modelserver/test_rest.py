"""The REST API of a real server process, with the requests of TensorFlow Serving's documentation where it has some."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models import export_model
from tests.support.mixed_model import NAME as MIXED
from tests.support.mixed_model import save_mixed_model
from tests.support.modelserver import HALF_PLUS_TWO, RunningServer, model_server

METRICS = "/monitoring/prometheus/metrics"
MODEL = f"/v1/models/{HALF_PLUS_TWO}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of two models; one has a label, and is served under a name that must be percent-encoded too."""
    folder = tmp_path_factory.mktemp("rest")
    export_model(HALF_PLUS_TWO, folder, version=123)
    save_mixed_model(folder / MIXED)
    config = folder / "models.config"
    config.write_text(
        f"""
        model_config_list {{
          config {{
            name: "{HALF_PLUS_TWO}" base_path: "{folder / HALF_PLUS_TWO}" model_platform: "tensorflow"
            version_labels {{ key: "stable" value: 123 }}
          }}
          config {{ name: "{MIXED}" base_path: "{folder / MIXED}" model_platform: "tensorflow" }}
          config {{ name: "a b/ü" base_path: "{folder / HALF_PLUS_TWO}" model_platform: "tensorflow" }}
        }}"""
    )
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with model_server(
        folder,
        f"--model_config_file={config}",
        f"--monitoring_config_file={monitoring}",
        "--allow_version_labels_for_unavailable_models",
        "--rest_api_enable_cors_support",
    ) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=30) as open_client:
        yield open_client


def answer(client: httpx.Client, path: str, body: Any) -> Any:
    response = client.post(path, content=body) if isinstance(body, (str, bytes)) else client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return json.loads(response.content)


def test_the_documented_predict_example(client: httpx.Client) -> None:
    assert answer(client, f"{MODEL}:predict", '{"instances": [1.0,2.0,5.0]}') == {"predictions": [2.5, 3.0, 4.5]}


def test_the_columnar_form_of_the_same(client: httpx.Client) -> None:
    expected = {"outputs": [2.5, 3.0, 4.5]}
    assert answer(client, f"{MODEL}:predict", {"inputs": {"x": [1, 2, 5]}}) == expected
    assert answer(client, f"{MODEL}:predict", {"inputs": [1, 2, 5]}) == expected


def test_named_instances_and_a_named_signature(client: httpx.Client) -> None:
    body = {"signature_name": "serving_default", "instances": [{"x": 1.0}, {"x": 2.0}]}
    assert answer(client, f"{MODEL}:predict", body) == {"predictions": [2.5, 3.0]}


def test_bare_tokens_go_in_and_out(client: httpx.Client) -> None:
    values = answer(client, f"{MODEL}:predict", '{"instances": [NaN, Infinity, -Infinity, 2]}')["predictions"]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 3.0]


def test_a_version_or_a_label_may_be_named_and_case_of_the_path_is_ignored(client: httpx.Client) -> None:
    for path in (f"{MODEL}/versions/123", f"{MODEL}/labels/stable", f"/V1/Models/{HALF_PLUS_TWO}"):
        assert answer(client, f"{path}:predict", {"instances": [1.0]}) == {"predictions": [2.5]}


def test_names_are_percent_encoded(client: httpx.Client) -> None:
    assert answer(client, "/v1/models/a%20b%2F%C3%BC:predict", {"instances": [1.0]}) == {"predictions": [2.5]}


MIXED_ROWS: list[dict[str, Any]] = [
    {"label": "fünf", "image_bytes": {"b64": "/wD+"}, "ids": [1, 2], "ratio": [1.0, 4.0]},
    {"label": "", "image_bytes": "text", "ids": [2**53, 1], "ratio": [0, 0]},
    {"label": "x", "image_bytes": {"b64": ""}, "ids": [-1, -2], "ratio": [1, 0]},
]


def test_several_inputs_and_outputs_by_row(client: httpx.Client) -> None:
    first, second, third = answer(client, f"/v1/models/{MIXED}:predict", {"instances": MIXED_ROWS})["predictions"]
    assert first == {"label": "fünf", "image_bytes": {"b64": "/wD+"}, "total": 3, "quotient": 0.25}
    assert math.isnan(second.pop("quotient"))
    assert second == {"label": "", "image_bytes": {"b64": "dGV4dA=="}, "total": 2**53 + 1}
    assert third == {"label": "x", "image_bytes": {"b64": ""}, "total": -3, "quotient": math.inf}


def test_several_inputs_and_outputs_by_column(client: httpx.Client) -> None:
    columns = {name: [row[name] for row in MIXED_ROWS[:1]] for name in MIXED_ROWS[0]}
    assert answer(client, f"/v1/models/{MIXED}:predict", {"inputs": columns}) == {
        "outputs": {"label": ["fünf"], "image_bytes": [{"b64": "/wD+"}], "total": [3], "quotient": [0.25]}
    }


def test_a_gzip_body_is_unpacked(client: httpx.Client) -> None:
    body = gzip.compress(b'{"instances": [1.0]}')
    response = client.post(f"{MODEL}:predict", content=body, headers={"Content-Encoding": "gzip"})
    assert response.json() == {"predictions": [2.5]}


def test_the_content_type_of_a_request_does_not_matter(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends
    response = client.post(f"{MODEL}:predict", content='{"instances": [1.0]}', headers=headers)
    assert response.json() == {"predictions": [2.5]}


def test_a_body_may_come_in_chunks(client: httpx.Client) -> None:
    parts = iter([b'{"inst', b'ances": ', b"[1.0", b"]}"])
    assert client.post(f"{MODEL}:predict", content=parts).json() == {"predictions": [2.5]}


def test_classify_and_regress(client: httpx.Client) -> None:
    examples = [{"x": 1.0}, {"x": 2.0}]
    assert answer(client, f"{MODEL}:regress", {"signature_name": "regress_x_to_y", "examples": examples}) == {
        "results": [2.5, 3.0]
    }
    assert answer(client, f"{MODEL}:classify", {"signature_name": "classify_x_to_y", "examples": examples}) == {
        "results": [[["", 2.5]], [["", 3.0]]]
    }


def test_a_context_is_shared_by_all_examples(client: httpx.Client) -> None:
    body = {"signature_name": "regress_x_to_y", "context": {"x": [1.0]}, "examples": [{"x2": 4.0}, {"x2": [5.0]}]}
    assert answer(client, f"{MODEL}:regress", body) == {"results": [2.5, 2.5]}


def test_not_a_number_in_examples(client: httpx.Client) -> None:
    body = '{"signature_name": "regress_x_to_y", "examples": [{"x": NaN}, {"x": 0.4}]}'
    values = answer(client, f"{MODEL}:regress", body)["results"]
    assert math.isnan(values[0])
    assert values[1] == pytest.approx(2.2)
    assert len(str(values[1])) < 6  # written with a float's digits, not a double's


def test_status_of_all_versions_and_of_one(client: httpx.Client) -> None:
    expected = {
        "model_version_status": [
            {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    for path in (MODEL, f"{MODEL}/versions/123", f"{MODEL}/labels/stable"):
        response = client.get(path)
        assert response.status_code == 200
        assert response.json() == expected


def test_metadata_lists_the_signatures(client: httpx.Client) -> None:
    for path in (f"{MODEL}/metadata", f"{MODEL}/versions/123/metadata", f"{MODEL}/labels/stable/metadata"):
        document = client.get(path).json()
        assert document["model_spec"] == {"name": HALF_PLUS_TWO, "signature_name": "", "version": "123"}
        signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
        assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


def test_head_and_options(client: httpx.Client) -> None:
    head = client.head(MODEL)
    assert head.status_code == 200
    assert head.content == b""
    preflight = client.options(f"{MODEL}:predict", headers={"Origin": "https://page.example"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-methods"] == "POST, GET"
    assert client.options(f"{MODEL}:predict").json() == {"error": "Origin header is missing in CORS preflight"}


def test_answers_and_errors_have_cors_headers(client: httpx.Client) -> None:
    for response in (client.post(f"{MODEL}:predict", json={"instances": [1.0]}), client.get("/v1/models/nothing")):
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["access-control-allow-headers"] == "Content-Type"


def counts(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Samples of the page by name and label values, for half_plus_two."""
    response = client.get(METRICS)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_requests_show_on_the_metrics_page_and_nowhere_twice(client: httpx.Client) -> None:
    answer(client, f"{MODEL}:predict", {"instances": [1.0]})  # the first of all has no gap before it
    before = counts(client)
    for _ in range(3):
        answer(client, f"{MODEL}:predict", {"instances": [1.0]})
    answer(client, f"{MODEL}:regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}, {"x": 2.0}]})
    client.post(f"{MODEL}:predict", content="{")
    after = counts(client)

    def grown(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    serving = ":tensorflow:serving:"
    assert grown(serving + "request_count_total", HALF_PLUS_TWO, "OK") == 4
    assert grown(serving + "request_count_total", HALF_PLUS_TWO, "INVALID_ARGUMENT") == 1
    assert grown(serving + "request_latency_count", HALF_PLUS_TWO, "predict", "REST") == 3
    assert grown(serving + "request_latency_count", HALF_PLUS_TWO, "regress", "REST") == 1
    assert grown(serving + "request_latency_bucket", HALF_PLUS_TWO, "predict", "REST", "+Inf") == 3
    assert grown(serving + "runtime_latency_count", HALF_PLUS_TWO, "Predict", "TF1") == 3
    assert grown(serving + "request_example_count_total", HALF_PLUS_TWO) == 2
    assert grown("regulus_modelserver_request_latency_seconds_count", HALF_PLUS_TWO, "predict", "REST") == 3
    assert grown("regulus_modelserver_interarrival_seconds_count_total", HALF_PLUS_TWO) == 5
    assert grown(":tensorflow:core:graph_runs_total") == 4
    assert after["regulus_modelserver_inflight_requests",] == 0


def test_a_scraped_latency_is_that_of_the_request(client: httpx.Client) -> None:
    def total(samples: dict[tuple[str, ...], float], name: str) -> float:
        return samples.get((name, HALF_PLUS_TWO, "predict", "REST"), 0)

    before = counts(client)
    answer(client, f"{MODEL}:predict", {"instances": [1.0]})
    after = counts(client)
    micros, seconds = ":tensorflow:serving:request_latency_sum", "regulus_modelserver_request_latency_seconds_sum"
    added = total(after, seconds) - total(before, seconds)
    assert added > 0
    assert total(after, micros) - total(before, micros) == pytest.approx(added * 1e6, rel=1e-3)


def test_the_log_says_which_flags_are_ignored(server: RunningServer) -> None:
    ignored = "--model_name and --model_base_path are ignored because --model_config_file is set."
    assert ignored in server.log.read_text()
