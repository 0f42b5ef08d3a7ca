"""The agent API: the same calls, bodies and problems for every kind of node.

``GET`` and ``PUT /agent/v1/config``, ``DELETE /agent/v1/canary``, ``DELETE /agent/v1/lease``,
``GET /agent/v1/health``, ``GET /agent/v1/metrics``, ``GET /agent/v1/openapi.json``.
Controllers that steer by themselves name themselves in the header ``Regulus-Controller``; see ``lease``.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.agent import openapi
from service.agent.door import HEALTH_PATH
from service.agent.errors import NoMetricsError, NotInForceError
from service.agent.lease import LeaseBook
from service.agent.node import Reconfigurable, TriesOut
from service.agent.order import Order, read_order
from service.agent.problems import ProblemError, answer_problem, answer_refusal, invalid
from service.domain.errors import InfeasibleConfigError, LeaseHeldError, StaleGenerationError

MAX_BODY_BYTES = 1 << 20

CONTROLLER_HEADER = "Regulus-Controller"
_NAME = re.compile(r"[!-~]{1,128}")

_KEPT = "The old configuration has kept serving."


class Agent:
    """The API in front of a node.

    Args:
        node: What is steered.
        leases: Who may write.
        server: Kind and version of the server.
        cpus: Processors of the node; may be fractional.
        memory_bytes: Memory of the node; None for no limit.
        canaries: Has one of several server processes try a configuration out; None where that is not possible.
    """

    def __init__(
        self,
        node: Reconfigurable,
        leases: LeaseBook,
        *,
        server: tuple[str, str],
        cpus: float,
        memory_bytes: int | None,
        canaries: TriesOut | None = None,
    ) -> None:
        self._node = node
        self._leases = leases
        self._server = server
        self._cpus = cpus
        self._memory_bytes = memory_bytes
        self._canaries = canaries

    def app(self) -> Starlette:
        """The ASGI application; :class:`service.agent.door.Door` keeps strangers out."""
        return Starlette(
            routes=[
                Route("/agent/v1/config", self._get_config, methods=["GET"]),
                Route("/agent/v1/config", self._put_config, methods=["PUT"]),
                Route("/agent/v1/canary", self._delete_canary, methods=["DELETE"]),
                Route("/agent/v1/lease", self._delete_lease, methods=["DELETE"]),
                Route(HEALTH_PATH, self._get_health),
                Route("/agent/v1/metrics", self._get_metrics),
                Route("/agent/v1/openapi.json", self._get_document),
            ],
            exception_handlers={ProblemError: answer_problem, HTTPException: answer_refusal},
        )

    async def describe(self) -> dict[str, Any]:
        """The body of every successful answer about the configuration."""
        node = self._node
        details = await node.details()
        lease = self._leases.lease
        return {
            "config": node.config.to_dict(),
            "generation": node.generation,
            "state": "switching" if node.switching else "serving",
            "support": {
                "knobs": {name: {"min": low, "max": high} for name, (low, high) in node.bounds.items()},
                "cpus": self._cpus,
                "memory_bytes": self._memory_bytes,
                "canary": self._canaries is not None,
            },
            "server": {"kind": self._server[0], "version": self._server[1]},
            "lease": lease.to_dict() if lease is not None else None,
            "canary": _canary(self._canaries),
            **details,
        }

    async def put(self, order: Order, controller: str | None) -> None:
        """Carry an order out; returns when requests are served by it.

        Args:
            order: The order.
            controller: Who gives it; None for somebody without a name.

        Raises:
            ProblemError: 423 when another controller holds the lease; 409 when the number is not newer; 422 when the
                node cannot run it, which it names; 504 when it is not ready in time; 500 when it cannot be put in
                force. In each case the old configuration has kept serving.
        """
        node = self._node
        try:
            with self._leases.claimed(controller, force=order.force):
                async with asyncio.timeout(order.timeout_seconds):
                    if not order.canary:
                        await node.reconfigure(order.config, order.generation)
                    elif self._canaries is not None:
                        await self._canaries.try_out(order.config, order.generation)
                    else:
                        raise invalid("canary", "must be false: this node cannot split its requests")
        except LeaseHeldError as error:
            raise _locked(error) from error
        except StaleGenerationError as error:
            raise ProblemError(
                409,
                "Stale generation",
                f"Generation {error.requested} is not newer than the one in force, {error.current}. "
                "Read the configuration and decide anew.",
                current_generation=error.current,
            ) from error
        except InfeasibleConfigError as error:
            raise invalid(f"config.{error.field}", error.message) from error
        except TimeoutError:
            raise ProblemError(
                504,
                "Not in force in time",
                f"The configuration was not ready within {order.timeout_seconds:g} s. {_KEPT}",
                current_generation=node.generation,
            ) from None
        except NotInForceError as error:
            raise ProblemError(
                500, "Not put in force", f"{_KEPT} {error}", current_generation=node.generation
            ) from error

    async def _get_config(self, request: Request) -> Response:
        self._leases.seen(_controller(request))
        return _json(await self.describe())

    async def _put_config(self, request: Request) -> Response:
        controller = _controller(request)
        await self.put(read_order(await _body(request), self._node.bounds), controller)
        return _json(await self.describe())

    async def _delete_canary(self, request: Request) -> Response:
        try:
            with self._leases.claimed(_controller(request)):
                if self._canaries is not None:
                    await self._canaries.withdraw()
        except LeaseHeldError as error:
            raise _locked(error) from error
        return Response(status_code=204)

    async def _delete_lease(self, request: Request) -> Response:
        self._leases.release(_controller(request))
        return Response(status_code=204)

    async def _get_health(self, _request: Request) -> Response:
        trouble = self._node.trouble()
        if trouble is not None:
            raise ProblemError(503, "Not serving", trouble)
        return _json({"status": "ok"})

    async def _get_document(self, _request: Request) -> Response:
        return _json(openapi.document())

    async def _get_metrics(self, _request: Request) -> Response:
        try:
            text = await self._node.metrics()
        except NoMetricsError as error:
            raise ProblemError(503, "No metrics", str(error)) from error
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _canary(canaries: TriesOut | None) -> dict[str, Any] | None:
    canary = canaries.canary if canaries is not None else None
    if canary is None:
        return None
    return {"generation": canary.generation, "config": canary.config.to_dict(), "ended": canary.ended}


def _locked(error: LeaseHeldError) -> ProblemError:
    return ProblemError(
        423,
        "Lease held",
        f"{error}. Stop that controller and wait until its lease has run out, or order it with force.",
        holder=error.holder,
        since=error.since,
        expires=error.expires,
    )


def _controller(request: Request) -> str | None:
    name = request.headers.get(CONTROLLER_HEADER)
    if name is not None and not _NAME.fullmatch(name):
        raise ProblemError(400, "Malformed header", f"{CONTROLLER_HEADER} is 1 to 128 visible ASCII characters.")
    return name


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ProblemError(413, "Body too large", f"The body may have {MAX_BODY_BYTES} bytes at most.")
    return bytes(body)


def _json(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), media_type="application/json")
