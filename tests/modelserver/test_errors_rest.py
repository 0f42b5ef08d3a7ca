"""What a real server process answers over REST when something is wrong, and that it serves on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.modelserver import HALF_PLUS_TWO, RunningServer, http_json, model_server
from tests.support.processes import free_port, wait_until

MODEL = f"/v1/models/{HALF_PLUS_TWO}"
#: Long enough to send a second request while the first one waits for its batch.
TIMEOUT_MS = 1500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Batches of four close at once when full and otherwise wait longer than a REST call may take."""
    folder = tmp_path_factory.mktemp("errors")
    batching = folder / "batching.txt"
    batching.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 60000000 } num_batch_threads { value: 1 } "
        "max_enqueued_batches { value: 1 }"
    )
    with model_server(
        folder,
        "--enable_batching",
        f"--batching_parameters_file={batching}",
        f"--rest_api_timeout_in_ms={TIMEOUT_MS}",
    ) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=30) as open_client:
        yield open_client


def full_batch(client: httpx.Client) -> httpx.Response:
    return client.post(f"{MODEL}:predict", json={"instances": [1.0, 2.0, 3.0, 4.0]})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/v1/models/nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
        (
            "POST",
            f"{MODEL}/versions/9:predict",
            {"instances": [1]},
            404,
            f"Servable not found for request: Specific({HALF_PLUS_TWO}, 9)",
        ),
        ("POST", f"{MODEL}/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        (
            "POST",
            f"{MODEL}:predict",
            {"signature_name": "nope", "instances": [1]},
            400,
            'Serving signature name: "nope" not found in signature def',
        ),
        (
            "POST",
            f"{MODEL}:regress",
            {"signature_name": "nope", "examples": [{"x": 1.0}]},
            400,
            "No signature was found with the name: nope",
        ),
        ("POST", f"{MODEL}:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("POST", f"{MODEL}:predict", b"{", 400, "JSON Parse error: "),
        ("POST", f"{MODEL}:predict", b"[]", 400, "Is not object"),
        ("POST", f"{MODEL}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", f"{MODEL}:predict", {"instances": [1], "inputs": [1]}, 400, "expecting only one of"),
        ("POST", f"{MODEL}:predict", {"inputs": {"y": [1]}}, 400, "Missing named input: x in 'inputs' object."),
        ("POST", f"{MODEL}:predict", {"instances": [{"y": 1}]}, 400, "does not have named input: y"),
        ("POST", f"{MODEL}:predict", {"instances": ["a"]}, 400, "Type: String is not of expected type: float"),
        ("POST", f"{MODEL}:predict", {"instances": [[1, 2], [3]]}, 400, "Expecting tensor size: 2 but got: 1"),
        ("POST", f"{MODEL}:predict", {"instances": [[1, 2]]}, 400, "shape [1,2]"),
        (
            "POST",
            f"{MODEL}:predict",
            {"instances": [1, 2, 3, 4, 5]},
            400,
            "Task size 5 is larger than maximum input batch size 4",
        ),
        ("POST", f"{MODEL}:classify", {"examples": []}, 400, "'examples' value is an empty array"),
        ("POST", f"{MODEL}:classify", {}, 400, "key 'examples' is expected and was not found"),
        ("POST", f"{MODEL}:classify", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("POST", f"{MODEL}:classify", {"examples": [{"x": None}]}, 400, "unexpected JSON type: Null"),
        ("POST", f"{MODEL}:classify", {"examples": [{"x": [[1]]}]}, 400, "unexpected JSON type: Array"),
        ("POST", f"{MODEL}:classify", {"examples": [{"x": [1, 1.5]}]}, 400, "expecting type: int64"),
        ("POST", f"{MODEL}:classify", {"examples": [{"x": 2**63}]}, 400, "has uint64 element. Only int64"),
        ("POST", f"{MODEL}:classify", {"examples": [{"x": 1e39}]}, 400, "without loss of precision"),
        ("POST", f"{MODEL}:classify", {"context": 1, "examples": [{"x": 1.0}]}, 400, "Example must be JSON object"),
        ("POST", f"{MODEL}:nope", {}, 400, f"Malformed request: POST {MODEL}:nope"),
        ("POST", f"{MODEL}:PREDICT", {}, 400, f"Malformed request: POST {MODEL}:PREDICT"),
        ("POST", MODEL, {}, 400, f"Malformed request: POST {MODEL}"),
        ("POST", f"{MODEL}/versions/x:predict", {}, 400, "Malformed request: POST"),
        ("POST", f"{MODEL}/versions/99999999999999999999:predict", {}, 400, "Failed to convert version: 9999999"),
        ("PUT", f"{MODEL}:predict", {}, 400, f"Malformed request: PUT {MODEL}:predict"),
        ("DELETE", MODEL, None, 400, f"Malformed request: DELETE {MODEL}"),
        ("GET", f"{MODEL}:predict", None, 400, f"Malformed request: GET {MODEL}:predict"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/nope", None, 404, "Could not find any versions of model nope"),
        ("GET", f"{MODEL}/versions/9", None, 404, "Could not find version 9 of model"),
        ("GET", "/v1/models/nope/metadata", None, 404, "Servable not found for request: Latest(nope)"),
        ("GET", "/v1/other", None, 400, "Malformed request: GET /v1/other"),
        ("GET", "/", None, 404, "Not Found: GET /"),
        ("GET", "/monitoring/prometheus/metrics", None, 404, "Not Found: GET /monitoring/prometheus/metrics"),
    ],
)
def test_an_error_has_its_status_and_says_what_is_wrong(
    client: httpx.Client, method: str, path: str, body: Any, status: int, message: str
) -> None:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    response = client.request(method, path, content=content)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    assert message in response.json()["error"]


def test_after_all_errors_a_good_request_is_served(client: httpx.Client) -> None:
    assert client.post(f"{MODEL}:predict", content=b"\x00" * 1000).status_code == 400
    assert full_batch(client).json() == {"predictions": [2.5, 3.0, 3.5, 4.0]}


def test_a_request_that_takes_too_long_is_answered_504(client: httpx.Client) -> None:
    response = client.post(f"{MODEL}:predict", json={"instances": [1.0]})
    assert response.status_code == 504
    assert f"rest_api_timeout_in_ms={TIMEOUT_MS}" in response.json()["error"]
    assert full_batch(client).status_code == 200


def test_a_full_queue_is_answered_503(server: RunningServer, client: httpx.Client) -> None:
    waiting: list[httpx.Response] = []

    def wait_in_the_queue() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as other:
            waiting.append(other.post(f"{MODEL}:predict", json={"instances": [1.0]}))

    thread = threading.Thread(target=wait_in_the_queue)
    thread.start()
    try:
        # One example waits for three more; three more would make a full batch, four need a second one.
        wait_until(lambda: _in_flight(server) == 1, what="a waiting request", timeout=TIMEOUT_MS / 1000)
        response = full_batch(client)
    finally:
        thread.join(timeout=30)
    assert response.status_code == 503
    assert "is full" in response.json()["error"]
    assert [answer.status_code for answer in waiting] == [504]


def _in_flight(server: RunningServer) -> int:
    _, page = http_json(f"http://127.0.0.1:{server.agent_port}/agent/v1/metrics")
    (line,) = [line for line in page.splitlines() if line.startswith("regulus_modelserver_inflight_requests{")]
    return int(line.split()[1])


@pytest.mark.parametrize(
    ("encoding", "content", "message"),
    [
        ("gzip", b'{"instances": [1]}', "The body is not gzip"),
        ("gzip", bytes.fromhex("1f8b0800"), "ends in the middle of its gzip data"),
        ("br", b"x", "Content-Encoding br is not supported"),
    ],
)
def test_a_wrongly_packed_body_is_refused(client: httpx.Client, encoding: str, content: bytes, message: str) -> None:
    response = client.post(f"{MODEL}:predict", content=content, headers={"Content-Encoding": encoding})
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) as connection:
        connection.sendall(f"POST {MODEL}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n{{".encode())
        received = b""
        while chunk := connection.recv(4096):  # until the server closes the connection
            received += chunk
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"larger than the limit of 268435456 bytes" in received


def test_options_without_cors_say_what_is_allowed(client: httpx.Client) -> None:
    response = client.options(f"{MODEL}:predict")
    assert response.status_code == 204
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batching_parameters_file={file}"], "is set without setting server_options.enable_batching to true."),
        (["--enable_batching", "--batching_parameters_file={file}"], "must match max_batch_size; last entry was 4"),
        (["--monitoring_config_file={file}"], "Invalid protobuf file"),
        (["--no_such_flag"], "unknown flag '--no_such_flag'; did you mean"),
    ],
)
def test_a_server_that_cannot_start_says_why_and_ends(tmp_path: Path, flags: list[str], message: str) -> None:
    file = tmp_path / "file.txt"
    file.write_text("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]")
    given = [flag.format(file=file) for flag in flags]
    with (
        pytest.raises(AssertionError, match=r"modelserver ended with [12]: ") as caught,
        model_server(tmp_path, f"--rest_api_port={free_port()}", *given),
    ):
        raise AssertionError("it started")
    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)
