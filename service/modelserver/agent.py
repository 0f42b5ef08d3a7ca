"""The agent API of the embedded server: read and change its configuration while it serves.

``GET /agent/v1/config``, ``PUT /agent/v1/config``, ``GET /agent/v1/health``, ``GET /agent/v1/metrics``; errors are
problem+json (RFC 9457). The control service speaks the same API to every kind of node.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service import __version__
from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.modelserver.status import ServingError

SERVER_KIND = "regulus-embedded"
MAX_BODY_BYTES = 1 << 20
DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_TIMEOUT_SECONDS = 3600.0

#: Lowest and highest value of each knob on this node. A max_batch_size of 0 stands for batching off.
KNOB_BOUNDS: Mapping[str, tuple[int, int]] = {
    "max_batch_size": (0, 1 << 20),
    "batch_timeout_micros": (0, 60_000_000),
    "num_batch_threads": (1, 256),
    "tensorflow_inter_op_parallelism": (0, 256),
    "tensorflow_intra_op_parallelism": (0, 256),
    "instances": (1, 16),
}


class ProblemError(Exception):
    """An answer other than 200.

    Args:
        status: HTTP status.
        title: What kind of problem, always the same for one kind.
        detail: What happened this time.
        more: Further members of the document.
    """

    def __init__(self, status: int, title: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


class Node(Protocol):
    """What the agent steers: the model manager."""

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        ...

    async def reconfigure(self, config: ServingConfig) -> None:
        """Put a configuration in force everywhere or, also when it is cancelled, nowhere."""
        ...


class Agent:
    """Numbers the configurations and makes changes one after another.

    Args:
        node: What is steered.
        cpus: Processors of the node; may be fractional.
        memory_bytes: Memory of the node; None for no limit.
        on_generation: Told the number of each configuration that comes into force.
        models: Names and versions of what is served, JSON-ready.
        render_metrics: The metrics page.
    """

    def __init__(
        self,
        node: Node,
        *,
        cpus: float,
        memory_bytes: int | None,
        on_generation: Callable[[int], None],
        models: Callable[[], list[dict[str, Any]]],
        render_metrics: Callable[[], str],
    ) -> None:
        self._node = node
        self._cpus = cpus
        self._memory_bytes = memory_bytes
        self._on_generation = on_generation
        self._models = models
        self._render_metrics = render_metrics
        self._generation = 0
        self._switching = False
        self._turn = asyncio.Lock()
        on_generation(0)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/agent/v1/config", self._get_config, methods=["GET"]),
                Route("/agent/v1/config", self._put_config, methods=["PUT"]),
                Route("/agent/v1/health", self._get_health),
                Route("/agent/v1/metrics", self._get_metrics),
            ],
            exception_handlers={ProblemError: _problem_response, HTTPException: _http_problem_response},
        )

    def describe(self) -> dict[str, Any]:
        """The body of every successful answer about the configuration."""
        return {
            "config": self._node.config.to_dict(),
            "generation": self._generation,
            "state": "switching" if self._switching else "serving",
            "support": {
                "knobs": {name: {"min": low, "max": high} for name, (low, high) in KNOB_BOUNDS.items()},
                "cpus": self._cpus,
                "memory_bytes": self._memory_bytes,
            },
            "server": {"kind": SERVER_KIND, "version": __version__},
            "models": self._models(),
        }

    async def put(self, generation: int, config: ServingConfig, timeout_seconds: float) -> None:
        """Put ``config`` in force under the number ``generation``; returns when requests are served by it.

        Raises:
            ProblemError: 409 when the number is not newer; 504 when it is not ready in time; 500 when it cannot be put
                in force. In each case the old configuration has kept serving.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._turn:
                if generation == self._generation and config == self._node.config:
                    return
                if generation <= self._generation:
                    raise ProblemError(
                        409,
                        "Stale generation",
                        f"Generation {generation} is not newer than the one in force, {self._generation}. "
                        "Read the configuration and decide anew.",
                        current_generation=self._generation,
                    )
                self._switching = True
                try:
                    await self._node.reconfigure(config)
                finally:
                    self._switching = False
                self._generation = generation
                self._on_generation(generation)
        except TimeoutError:
            raise ProblemError(
                504,
                "Not in force in time",
                f"The configuration was not ready within {timeout_seconds:g} s. The old one has kept serving.",
                current_generation=self._generation,
            ) from None
        except ServingError as error:
            raise ProblemError(
                500,
                "Not put in force",
                f"{error.code.name}: {error.message}. The old configuration has kept serving.",
                current_generation=self._generation,
            ) from error

    async def _get_config(self, _request: Request) -> Response:
        return _json(self.describe())

    async def _put_config(self, request: Request) -> Response:
        generation, config, timeout_seconds = read_order(await _body(request))
        await self.put(generation, config, timeout_seconds)
        return _json(self.describe())

    async def _get_health(self, _request: Request) -> Response:
        return _json({"status": "ok"})

    async def _get_metrics(self, _request: Request) -> Response:
        return PlainTextResponse(self._render_metrics(), media_type="text/plain; version=0.0.4")


def read_order(body: bytes) -> tuple[int, ServingConfig, float]:
    """Read the body of a PUT: generation, configuration and time-out in seconds.

    Fields of the configuration that are missing take TensorFlow Serving's defaults, not the values in force.

    Raises:
        ProblemError: 400: not a JSON object; 422: a field is missing, unknown or not allowed, named in ``errors``.
    """
    try:
        order = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(400, "Malformed JSON", f"The body is not JSON: {error}") from None
    if not isinstance(order, dict):
        raise ProblemError(400, "Malformed JSON", "The body must be a JSON object.")
    known = {"generation", "config", "timeout_seconds"}
    for name in order:
        if name not in known:
            raise _invalid(name, f"is not a field; fields are {', '.join(sorted(known))}")
    generation = order.get("generation")
    if isinstance(generation, bool) or not isinstance(generation, int) or generation < 0:
        raise _invalid("generation", f"must be a whole number ≥ 0, not {generation!r}")
    raw = order.get("config")
    if not isinstance(raw, dict):
        raise _invalid("config", f"must be an object of knobs, not {raw!r}")
    return generation, _feasible(raw), _timeout(order.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS))


def _feasible(raw: Mapping[str, Any]) -> ServingConfig:
    try:
        config = ServingConfig.from_dict(raw)
    except InfeasibleConfigError as error:
        raise _invalid(f"config.{error.field}", error.message) from None
    for name, (low, high) in KNOB_BOUNDS.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise _invalid(f"config.{name}", f"must lie between {low} and {high} on this node, not {value}")
    return config


def _timeout(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not math.isfinite(raw):
        raise _invalid("timeout_seconds", f"must be a number of seconds, not {raw!r}")
    if not 0 < raw <= MAX_TIMEOUT_SECONDS:
        raise _invalid("timeout_seconds", f"must lie between 0 and {MAX_TIMEOUT_SECONDS:g}, not {raw!r}")
    return float(raw)


def _invalid(field: str, message: str) -> ProblemError:
    errors = [{"field": field, "message": message}]
    return ProblemError(422, "Invalid configuration", f"{field} {message}", errors=errors)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ProblemError(413, "Body too large", f"The body may have {MAX_BODY_BYTES} bytes at most.")
    return bytes(body)


def _json(document: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")


async def _problem_response(_request: Request, problem: Exception) -> Response:
    if not isinstance(problem, ProblemError):
        raise problem
    return Response(orjson.dumps(problem.document), problem.status, media_type="application/problem+json")


async def _http_problem_response(_request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself: unknown paths and methods."""
    if not isinstance(error, HTTPException):
        raise error
    document = {"type": "about:blank", "title": error.detail, "status": error.status_code, "detail": error.detail}
    body = orjson.dumps(document)
    return Response(body, error.status_code, headers=error.headers, media_type="application/problem+json")
