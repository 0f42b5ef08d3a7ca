"""The embedded model server as a real process on free ports, and clients made from the official stubs."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from models import export_model
from tests.support.processes import free_port, http_ok, running, wait_until

HALF_PLUS_TWO = "half_plus_two"


@dataclass
class RunningServer:
    """A server that is ready, with model ``half_plus_two`` unless other flags say otherwise."""

    grpc_port: int
    rest_port: int
    agent_port: int
    process: Popen[bytes]
    log: Path
    base_path: Path

    @property
    def target(self) -> str:
        """Where gRPC is."""
        return f"127.0.0.1:{self.grpc_port}"

    @contextlib.contextmanager
    def prediction(self) -> Iterator[Any]:
        """A blocking PredictionService stub."""
        with channel(self.target) as open_channel:
            yield prediction_service_pb2_grpc.PredictionServiceStub(open_channel)

    @contextlib.contextmanager
    def model_service(self) -> Iterator[Any]:
        """A blocking ModelService stub."""
        with channel(self.target) as open_channel:
            yield model_service_pb2_grpc.ModelServiceStub(open_channel)

    def rest(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """Status and JSON answer of a REST call; POST when there is a body."""
        return http_json(f"http://127.0.0.1:{self.rest_port}{path}", body, method)

    def gauge(self, name: str) -> float:
        """A metric without labels, from the agent's page."""
        page = self.agent("/agent/v1/metrics")[1]
        return float(next(line.split()[-1] for line in page.splitlines() if line.startswith(name)))

    def agent(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """Status and JSON answer of an agent call; PUT when there is a body."""
        return http_json(f"http://127.0.0.1:{self.agent_port}{path}", body, method or ("PUT" if body else None))


@contextlib.contextmanager
def model_server(tmp_path: Path, *flags: str, model: str = HALF_PLUS_TWO) -> Iterator[RunningServer]:
    """Run ``regulus modelserver`` with a model of the zoo until the block ends.

    Args:
        tmp_path: Where the model and the log are written.
        flags: Further flags, ``--name=value``; a flag given here wins over ours.
        model: Name in the zoo.
    """
    base_path = tmp_path / "models" / model
    export_model(model, base_path.parent)
    grpc_port, rest_port, agent_port = free_port(), free_port(), free_port()
    log = tmp_path / "modelserver.log"
    ours = {
        "port": grpc_port,
        "rest_api_port": rest_port,
        "agent_port": agent_port,
        "model_name": model,
        "model_base_path": base_path,
    }
    given = {flag.lstrip("-").partition("=")[0] for flag in flags}
    arguments = [f"--{name}={value}" for name, value in ours.items() if name not in given]
    with running(
        ["modelserver", *arguments, *flags],
        ready=lambda: http_ok(f"http://127.0.0.1:{agent_port}/agent/v1/health"),
        log=log,
    ) as process:
        yield RunningServer(grpc_port, rest_port, agent_port, process, log, base_path)


@contextlib.contextmanager
def channel(target: str) -> Iterator[grpc.Channel]:
    """A channel of its own connection, closed at the end."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as open_channel:
        yield open_channel


def predict_request(
    model: str = HALF_PLUS_TWO,
    *,
    signature: str = "",
    version: int | None = None,
    output_filter: tuple[str, ...] = (),
    **inputs: Any,
) -> predict_pb2.PredictRequest:
    """A PredictRequest; each input is anything NumPy makes an array of, floats as float32, strings as bytes."""
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for alias, value in inputs.items():
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        request.inputs[alias].CopyFrom(_tensor(array))
    return request


def half_plus_two_request(*x: float) -> predict_pb2.PredictRequest:
    """A request whose answer is x/2 + 2."""
    return predict_request(x=np.array(x, np.float32))


def output(response: predict_pb2.PredictResponse, alias: str = "y") -> list[Any]:
    """One output of a response, as nested lists."""
    import tensorflow as tf

    values: list[Any] = tf.make_ndarray(response.outputs[alias]).tolist()
    return values


def http_json(url: str, body: Any = None, method: str | None = None, timeout: float = 60.0) -> tuple[int, Any]:
    """Status and decoded answer; a body that is bytes is sent as it is, another as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    call = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})  # noqa: S310 — loopback only
    try:
        with urllib.request.urlopen(call, timeout=timeout) as answer:  # noqa: S310 — loopback only
            return answer.status, _decoded(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _decoded(error.read())


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    import tensorflow as tf

    return tf.make_tensor_proto(array)


class Clients:
    """Threads that ask half_plus_two without pause and check every answer, each over a connection of its own."""

    def __init__(self, target: str, count: int = 8) -> None:
        self.answered = 0
        self.failures: list[tuple[str, str]] = []
        self._target = target
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(float(number),)) for number in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for_more(self, count: int = 50) -> None:
        """Wait until ``count`` further requests have been answered."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal or bool(self.failures), what=f"{count} further answers")

    def _ask(self, x: float) -> None:
        request = half_plus_two_request(x)
        with channel(self._target) as open_channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(open_channel)
            while not self._stopping.is_set():
                try:
                    answer = output(stub.Predict(request, timeout=20))
                except grpc.RpcError as error:
                    self.failures.append((error.code().name, error.details()))
                    return
                if answer != [x / 2 + 2]:
                    self.failures.append(("WRONG", f"{x} → {answer}"))
                    return
                with self._lock:
                    self.answered += 1
