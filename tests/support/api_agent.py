"""A small real node over HTTP: the agent API and a Prometheus page whose traffic follows the clock.

It answers as the agents do, so that the control service is tested through its own sockets; what it serves is
arithmetic: a steady rate, and one latency for batching on, another for batching off.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig

BOUNDS = [0.001 * 1.1**i for i in range(100)]

KNOBS = {
    "max_batch_size": {"min": 1, "max": 128},
    "batch_timeout_micros": {"min": 0, "max": 10_000},
    "num_batch_threads": {"min": 1, "max": 4},
    "tensorflow_inter_op_parallelism": {"min": 0, "max": 2},
    "tensorflow_intra_op_parallelism": {"min": 0, "max": 2},
    "instances": {"min": 1, "max": 1},
}


@dataclass
class Node:
    """State of the node; tests change ``refuse_with`` to make the agent fail.

    Attributes:
        model: Name of the model on the metrics page.
        rate: Requests a second; 0 for no traffic.
        refuse_with: Status that the next changes are refused with; 0 accepts them.
    """

    model: str = "mnist"
    rate: float = 2000.0
    fast_seconds: float = 0.010
    slow_seconds: float = 0.080
    refuse_with: int = 0
    config: ServingConfig = field(default_factory=ServingConfig)
    generation: int = 1
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counted_at: float = field(default_factory=time.monotonic)
    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    _total: float = 0.0
    _credit: float = 0.0

    @property
    def metrics_url(self) -> str:
        return f"{self.url}/metrics"

    def state(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "generation": self.generation,
            "state": "serving",
            "support": {"knobs": KNOBS, "cpus": 2, "memory_bytes": 1 << 30},
            "server": {"kind": "test-node", "version": "1"},
        }

    def change(self, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if self.refuse_with:
                return self.refuse_with, {"title": "refused", "detail": "the test asked for this"}
            if order["generation"] <= self.generation:
                return 409, {"title": "stale", "current_generation": self.generation}
            try:
                config = ServingConfig.from_dict(order["config"])
                for name, limits in KNOBS.items():
                    if config.enable_batching and getattr(config, name) > limits["max"]:
                        raise InfeasibleConfigError(name, f"this node allows at most {limits['max']}")
            except InfeasibleConfigError as error:
                return 422, {"title": "infeasible", "errors": [{"field": error.field, "message": error.message}]}
            self._count()
            self.config, self.generation = config, order["generation"]
            return 200, self.state()

    def _count(self) -> None:
        now = time.monotonic()
        self._credit += (now - self._counted_at) * self.rate
        self._counted_at = now
        served = int(self._credit)
        self._credit -= served
        latency = self.fast_seconds if self.config.enable_batching else self.slow_seconds
        self._counts[bisect_left(BOUNDS, latency)] += served
        self._total += served * latency

    def page(self) -> str:
        with self._lock:
            self._count()
            name = "regulus_modelserver_request_latency_seconds"
            labels = f'model_name="{self.model}",api="predict",entrypoint="grpc"'
            lines = [f"# TYPE {name} histogram"]
            below = 0
            for bound, count in zip([*BOUNDS, float("inf")], self._counts, strict=True):
                below += count
                edge = "+Inf" if bound == float("inf") else repr(bound)
                lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {below}')
            lines += [f"{name}_sum{{{labels}}} {self._total}", f"{name}_count{{{labels}}} {below}"]
            lines += [
                "# TYPE :tensorflow:serving:request_count counter",
                f':tensorflow:serving:request_count{{model_name="{self.model}",status="OK"}} {below}',
                "# TYPE regulus_modelserver_generation gauge",
                f"regulus_modelserver_generation {self.generation}",
            ]
            return "\n".join(lines) + "\n"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, self.server.node.page().encode(), "text/plain")
        else:
            self._answer(200, json.dumps(self.server.node.state()).encode(), "application/json")

    def do_PUT(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.server.node.change(order)
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class names it so
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, node: Node) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node = node

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A control service that ends breaks its connections off.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def running_node(node: Node | None = None) -> Iterator[Node]:
    """A node that answers until the block ends."""
    made = node or Node()
    with _Server(made) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(timeout=5)
