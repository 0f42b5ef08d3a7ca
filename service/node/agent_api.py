"""The agent API of a node: the same calls, bodies and problems as the embedded server's.

``GET /agent/v1/config``, ``PUT /agent/v1/config``, ``GET /agent/v1/health``, ``GET /agent/v1/metrics``; errors are
problem+json (RFC 9457).
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.domain.errors import InfeasibleConfigError, StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.node.errors import FrontError, HeadRoomError, NodeError
from service.node.state import ServerRecord

MAX_BODY_BYTES = 1 << 20
DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_TIMEOUT_SECONDS = 3600.0

_KEPT = "The old configuration has kept serving."


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


class SteeredNode(Protocol):
    """What the agent steers."""

    bounds: dict[str, tuple[int, int]]
    switching: bool

    @property
    def config(self) -> ServingConfig:
        """The configuration in force."""
        ...

    @property
    def generation(self) -> int:
        """Its number."""
        ...

    @property
    def serving(self) -> tuple[ServerRecord, ...]:
        """The processes that get requests."""
        ...

    async def reconfigure(self, config: ServingConfig, generation: int) -> None:
        """Put a configuration in force, or leave the old one serving."""
        ...

    async def versions(self) -> list[int]:
        """Versions of the model that are served."""
        ...

    async def metrics(self) -> str:
        """The metrics page."""
        ...


class Agent:
    """The API.

    Args:
        node: What is steered.
        model: Name of its model.
        server: Kind and version of its servers.
        cpus: Processors of the node; may be fractional.
        memory_bytes: Memory of the node; None for no limit.
    """

    def __init__(
        self, node: SteeredNode, *, model: str, server: tuple[str, str], cpus: float, memory_bytes: int | None
    ) -> None:
        self._node = node
        self._model = model
        self._server = server
        self._cpus = cpus
        self._memory_bytes = memory_bytes

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

    async def describe(self) -> dict[str, Any]:
        """The body of every successful answer about the configuration."""
        node = self._node
        versions = await node.versions()
        return {
            "config": node.config.to_dict(),
            "generation": node.generation,
            "state": "switching" if node.switching else "serving",
            "support": {
                "knobs": {name: {"min": low, "max": high} for name, (low, high) in node.bounds.items()},
                "cpus": self._cpus,
                "memory_bytes": self._memory_bytes,
            },
            "server": {"kind": self._server[0], "version": self._server[1]},
            "models": [{"name": self._model, "versions": versions}],
            "processes": [
                {"pid": one.pid, "generation": one.generation, "grpc_port": one.grpc_port, "rest_port": one.rest_port}
                for one in node.serving
            ],
        }

    async def put(self, generation: int, config: ServingConfig, timeout_seconds: float) -> None:
        """Put ``config`` in force under the number ``generation``; returns when requests are served by it.

        Raises:
            ProblemError: 409 when the number is not newer; 422 when the node cannot run it, which it names; 504 when it
                is not ready in time; 500 when it cannot be put in force. In each case the old configuration has kept
                serving.
        """
        node = self._node
        try:
            async with asyncio.timeout(timeout_seconds):
                await node.reconfigure(config, generation)
        except StaleGenerationError as error:
            raise ProblemError(
                409,
                "Stale generation",
                f"Generation {error.requested} is not newer than the one in force, {error.current}. "
                "Read the configuration and decide anew.",
                current_generation=error.current,
            ) from error
        except InfeasibleConfigError as error:
            raise _invalid(f"config.{error.field}", error.message) from error
        except HeadRoomError as error:
            raise _invalid("config.instances", f"cannot be run: the change {error}. {_KEPT}") from error
        except TimeoutError:
            raise ProblemError(
                504,
                "Not in force in time",
                f"The configuration was not ready within {timeout_seconds:g} s. {_KEPT}",
                current_generation=node.generation,
            ) from None
        except NodeError as error:
            raise ProblemError(
                500, "Not put in force", f"{_KEPT} {error}", current_generation=node.generation
            ) from error

    async def _get_config(self, _request: Request) -> Response:
        return _json(await self.describe())

    async def _put_config(self, request: Request) -> Response:
        generation, config, timeout_seconds = read_order(await _body(request))
        await self.put(generation, config, timeout_seconds)
        return _json(await self.describe())

    async def _get_health(self, _request: Request) -> Response:
        if not self._node.serving:
            raise ProblemError(503, "Not serving", "No server process runs; one is being started.")
        return _json({"status": "ok"})

    async def _get_metrics(self, _request: Request) -> Response:
        try:
            text = await self._node.metrics()
        except FrontError as error:
            raise ProblemError(503, "No metrics", str(error)) from error
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def read_order(body: bytes) -> tuple[int, ServingConfig, float]:
    """Read the body of a PUT: generation, configuration and time-out in seconds.

    Fields of the configuration that are missing take TensorFlow Serving's defaults, not the values in force.

    Raises:
        ProblemError: 400: not a JSON object; 422: a field is missing, unknown or not allowed, named in ``errors``.
    """
    try:
        order = json.loads(body)
    except (ValueError, RecursionError) as error:
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
    try:
        config = ServingConfig.from_dict(raw)
    except InfeasibleConfigError as error:
        raise _invalid(f"config.{error.field}", error.message) from None
    return generation, config, _timeout(order.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS))


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
    return Response(json.dumps(document, ensure_ascii=False), media_type="application/json")


def _problem(document: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(document, ensure_ascii=False)
    return Response(content, status, headers=headers, media_type="application/problem+json")


async def _problem_response(_request: Request, problem: Exception) -> Response:
    if not isinstance(problem, ProblemError):
        raise problem
    return _problem(problem.document, problem.status)


async def _http_problem_response(_request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself: unknown paths and methods."""
    if not isinstance(error, HTTPException):
        raise error
    document = {"type": "about:blank", "title": error.detail, "status": error.status_code, "detail": error.detail}
    return _problem(document, error.status_code, error.headers)
