"""SimulatedNode: a node whose agent and metrics page behave like the real ones, on any clock, with faults on demand.

The same node answers in process (:class:`NodeTransport`, on a fake clock) and as a real HTTP server (:func:`serving`).
Requests are not sent: each look at the metrics page first makes up the requests that arrived since the last one, with
latencies that follow a given landscape.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import httpx
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.clock import Clock
from service.domain.errors import InfeasibleConfigError
from service.domain.histogram import exponential_bounds
from service.domain.serving_config import ServingConfig

#: Upper edges of the latency histogram, seconds: 1 ms … 5 s. Coarser than the real server's, and so read faster.
BOUNDS = exponential_bounds(1e-3, 1.12, 76)

KNOBS = {
    "max_batch_size": (0, 1024),
    "batch_timeout_micros": (0, 100_000),
    "num_batch_threads": (1, 64),
    "tensorflow_inter_op_parallelism": (0, 64),
    "tensorflow_intra_op_parallelism": (0, 64),
    "instances": (1, 4),
}

Door = Literal["read", "order", "metrics"]
Fault = Literal["down", "hang", "garbage", "error", "conflict", "infeasible", "timeout", "lost answer"]

Latency = Callable[[ServingConfig, float], float]
"""Median latency in seconds of a configuration at a rate of requests a second."""


class SimulatedNode:
    """One node with one model.

    Args:
        clock: Paces the requests.
        latency: The landscape.
        name: Name of the model.
        config: In force at the beginning.
        rate: Requests a second.
        seed: Seeds arrivals and latencies.
    """

    def __init__(
        self,
        clock: Clock,
        latency: Latency,
        *,
        name: str = "m",
        config: ServingConfig | None = None,
        rate: float = 100.0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.clock = clock
        self.latency = latency
        self.config = config or ServingConfig()
        self.generation = 0
        self.state = "serving"
        self.knobs = dict(KNOBS)
        self.cpus = 2.0
        self.faults: dict[Door, Fault] = {}
        self.infeasible: set[ServingConfig] = set()
        """Refused with 422."""
        self.orders: list[tuple[int, ServingConfig]] = []
        """Every order that reached the node, whatever became of it."""
        self.canary: tuple[int, ServingConfig] | None = None
        """What one process tries out, and its number."""
        self.canary_ended: str | None = None
        """Why the node put an end to the last trial."""
        self.trials: list[ServingConfig] = []
        """Every configuration that one process has tried out."""
        self.tries_out = False
        """Whether it can have one process try something out."""
        self.canary_answers = True
        """Whether that process answers what it is asked."""
        self.switch_seconds = 0.0
        self.backlog_seconds = 0.0
        """Latency added to all requests; shrinks by ``drained_per_second``."""
        self.drained_per_second = 1.0
        self.tells_generation = True
        """Whether the metrics page has the generation; TensorFlow Serving's own has not."""
        self.loss = 0.0
        """Share of requests that are refused."""
        self._rate = rate
        self._rng = np.random.default_rng(seed)
        self._seen = clock.monotonic()
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self._rejected = 0
        self._gaps = [0, 0.0, 0.0]
        self._by_role = {role: ([0] * (len(BOUNDS) + 1), 0.0) for role in ("canary", "control")}

    @property
    def rate(self) -> float:
        """Requests a second, now."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._let_requests_arrive()
        self._rate = rate

    def put_in_force(self, config: ServingConfig, generation: int | None = None) -> None:
        """Change the configuration, as an order or somebody at the node would."""
        self._let_requests_arrive()
        self.config = config
        self.generation = self.generation + 1 if generation is None else generation
        self.canary = self.canary_ended = None

    def end_trial(self, why: str) -> None:
        """The process that tries something out has died, or was withdrawn."""
        self._let_requests_arrive()
        self.canary_ended = why

    def restart(self, config: ServingConfig | None = None) -> None:
        """The server process died and was started anew."""
        self._let_requests_arrive()
        self.config = config or ServingConfig()
        self.generation = 0
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total, self._rejected, self._gaps = 0.0, 0, [0, 0.0, 0.0]

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of an HTTP call."""
        door: Door = "metrics" if path == "/metrics" else "read" if method == "GET" else "order"
        fault = self.faults.get(door)
        if fault == "garbage":
            return 200, b"]] not what you think \xff"
        if fault == "error":
            return _problem(500, "Not put in force", "INTERNAL: out of memory. The old configuration has kept serving.")
        if door == "metrics":
            self._let_requests_arrive()
            return 200, self._page().encode()
        if path == "/agent/v1/canary":
            self._let_requests_arrive()
            self.canary = self.canary_ended = None
            return 204, b""
        if path != "/agent/v1/config":
            return _problem(404, "Not found", path)
        if method == "GET":
            return 200, json.dumps(self.describe()).encode()
        return await self._order(json.loads(body), fault)

    def describe(self) -> dict[str, Any]:
        """What the agent says of its node."""
        return {
            "config": self.config.to_dict(),
            "generation": self.generation,
            "state": self.state,
            "support": {
                "knobs": {knob: {"min": low, "max": high} for knob, (low, high) in self.knobs.items()},
                "cpus": self.cpus,
                "memory_bytes": None,
                "canary": self.tries_out,
            },
            "canary": self._describe_canary(),
            "server": {"kind": "simulated", "version": "1"},
            "models": [{"name": self.name}],
        }

    def _describe_canary(self) -> dict[str, Any] | None:
        if self.canary is None:
            return None
        generation, config = self.canary
        return {"generation": generation, "config": config.to_dict(), "ended": self.canary_ended}

    async def _order(self, order: dict[str, Any], fault: Fault | None) -> tuple[int, bytes]:
        generation = int(order["generation"])
        try:
            config = ServingConfig.from_dict(order["config"])
        except InfeasibleConfigError as error:
            return _invalid(error.field, error.message)
        self.orders.append((generation, config))
        for knob, (low, high) in self.knobs.items():
            if not low <= getattr(config, knob) <= high:
                return _invalid(knob, f"must lie between {low} and {high}, not {getattr(config, knob)}")
        if fault == "infeasible" or config in self.infeasible:
            return _invalid("max_batch_size", "needs more memory than this node has")
        if generation == self.generation and config == self.config:
            return 200, json.dumps(self.describe()).encode()
        if generation <= self.generation or fault == "conflict":
            return _problem(409, "Stale generation", "read again", current_generation=self.generation)
        if fault == "timeout":
            return _problem(504, "Not in force in time", "The old configuration has kept serving.")
        if self.switch_seconds:
            self.state = "switching"
            await self.clock.sleep(self.switch_seconds)
            self.state = "serving"
        if order.get("canary"):
            self._let_requests_arrive()
            self.canary, self.canary_ended = (generation, config), None
            self.trials.append(config)
        else:
            self.put_in_force(config, generation)
        return 200, json.dumps(self.describe()).encode()

    def _let_requests_arrive(self) -> None:
        now = self.clock.monotonic()
        seconds, self._seen = now - self._seen, now
        arrivals = int(self._rng.poisson(self._rate * seconds))
        if arrivals == 0:
            return
        if self.canary is not None and self.canary_ended is None:
            arrivals = self._let_a_trial_have_its_share(arrivals, self.canary[1])
        lost = int(self._rng.binomial(arrivals, self.loss))
        median = self.latency(self.config, self._rate)
        values = median * np.exp(0.3 * self._rng.standard_normal(arrivals - lost)) + self.backlog_seconds
        self.backlog_seconds = max(self.backlog_seconds - self.drained_per_second * seconds, 0.0)
        for value in values.tolist():
            self._counts[bisect_left(BOUNDS, value)] += 1
        self._total += float(values.sum())
        self._rejected += lost
        gaps = self._rng.exponential(1 / self._rate, arrivals)
        self._gaps = [
            self._gaps[0] + arrivals,
            self._gaps[1] + float(gaps.sum()),
            self._gaps[2] + float((gaps**2).sum()),
        ]

    def _let_a_trial_have_its_share(self, arrivals: int, tried: ServingConfig) -> int:
        """The canary and its control get the same; returns what is left for the others."""
        share = arrivals // self.config.instances
        for role, config in (("canary", tried), ("control", self.config)):
            if role == "canary" and not self.canary_answers:
                continue
            values = self.latency(config, self._rate) * np.exp(0.3 * self._rng.standard_normal(share))
            counts, total = self._by_role[role]
            for value in values.tolist():
                counts[bisect_left(BOUNDS, value)] += 1
            self._by_role[role] = counts, total + float(values.sum())
        return arrivals - 2 * share

    def _page(self) -> str:
        """The metrics page, under the embedded server's names."""
        model = f'model_name="{self.name}"'
        latency, gaps = "regulus_modelserver_request_latency_seconds", "regulus_modelserver_interarrival_seconds"
        cumulative = np.cumsum(self._counts).tolist()
        edges = [*(f"{bound!r}" for bound in BOUNDS), "+Inf"]
        lines = [
            f':tensorflow:serving:request_count{{{model},status="OK"}} {cumulative[-1]}',
            f':tensorflow:serving:request_count{{{model},status="UNAVAILABLE"}} {self._rejected}',
            *(f'{latency}_bucket{{{model},le="{e}"}} {n}' for e, n in zip(edges, cumulative, strict=True)),
            f"{latency}_sum{{{model}}} {self._total!r}",
            f"{latency}_count{{{model}}} {cumulative[-1]}",
            *(
                f"{gaps}_{moment}{{{model}}} {value!r}"
                for moment, value in zip(("count", "sum", "sum_of_squares"), self._gaps, strict=True)
            ),
            *self._role_lines(model, latency),
            *([f"regulus_modelserver_generation {self.generation}"] if self.tells_generation else []),
        ]
        return "\n".join(lines) + "\n"

    def _role_lines(self, model: str, latency: str) -> list[str]:
        lines = []
        for role, (counts, total) in self._by_role.items():
            if sum(counts) == 0:
                continue
            labels, edges = f'{model},role="{role}"', [*(f"{bound!r}" for bound in BOUNDS), "+Inf"]
            cumulative = np.cumsum(counts).tolist()
            lines.append(f':tensorflow:serving:request_count{{{labels},status="OK"}} {cumulative[-1]}')
            lines += [f'{latency}_bucket{{{labels},le="{e}"}} {n}' for e, n in zip(edges, cumulative, strict=True)]
            lines.append(f"{latency}_sum{{{labels}}} {total!r}")
        return lines


class NodeTransport(httpx.AsyncBaseTransport):
    """Answers an ``httpx.AsyncClient`` in process, in the node's own time."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, node = request.url.path, self._node
        door: Door = "metrics" if path == "/metrics" else "read" if request.method == "GET" else "order"
        fault = node.faults.get(door)
        if fault == "down":
            raise httpx.ConnectError("connection refused", request=request)
        if fault == "hang":
            await node.clock.sleep(request.extensions["timeout"]["read"])
            raise httpx.ReadTimeout("no answer", request=request)
        status, body = await node.answer(request.method, path, await request.aread())
        if fault == "lost answer":
            raise httpx.ReadError("connection reset", request=request)
        return httpx.Response(status, content=body, headers=_headers(status, path), request=request)


@contextlib.asynccontextmanager
async def serving(node: SimulatedNode) -> AsyncIterator[str]:
    """The node as a real HTTP server on loopback; yields its root URL. It hangs and lies, but is never down."""
    released = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        path = request.url.path
        door: Door = "metrics" if path == "/metrics" else "read" if request.method == "GET" else "order"
        if node.faults.get(door) == "hang":
            await released.wait()
        status, body = await node.answer(request.method, path, await request.body())
        return Response(body, status, headers=_headers(status, path))

    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "PUT", "DELETE"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not task.done(), "the simulated agent did not start"
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        released.set()
        server.should_exit = True
        await task


def _headers(status: int, path: str) -> dict[str, str]:
    if path == "/metrics":
        return {"content-type": "text/plain; version=0.0.4"}
    return {"content-type": "application/json" if status == httpx.codes.OK else "application/problem+json"}


def _problem(status: int, title: str, detail: str, **more: Any) -> tuple[int, bytes]:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return status, json.dumps(document).encode()


def _invalid(knob: str, message: str) -> tuple[int, bytes]:
    errors = [{"field": f"config.{knob}", "message": message}]
    return _problem(422, "Invalid configuration", f"config.{knob} {message}", errors=errors)
