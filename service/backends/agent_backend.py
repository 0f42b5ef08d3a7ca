"""AgentBackend: one node, reached through the REST API of its agent.

=====================  =================================================
answer of the agent    here
=====================  =================================================
200                    BackendState
409                    StaleGenerationError
423                    LeaseHeldError: another controller writes
422                    InfeasibleConfigError, naming the knob
504                    ApplyTimeoutError: the old configuration serves on
anything else, none    BackendUnavailableError
=====================  =================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from service.backends.protocol import BackendPhase, BackendState, CanaryState, Support
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    InvalidValueError,
    LeaseHeldError,
    StaleGenerationError,
)
from service.domain.serving_config import ServingConfig

CONFIG_PATH = "/agent/v1/config"
LEASE_PATH = "/agent/v1/lease"
CANARY_PATH = "/agent/v1/canary"

#: Carries the name under which a lease is held.
CONTROLLER_HEADER = "Regulus-Controller"

#: An agent's answer is a few kilobytes; a hostile or broken one must not fill our memory.
MAX_ANSWER_BYTES = 1 << 20

#: Time beyond the agent's own time-out in which it can still say that it ran out, seconds.
GRACE_SECONDS = 5.0

#: Most characters of a foreign message that are passed on.
MAX_MESSAGE_CHARS = 500

_RELEASE_SECONDS = 1.0

_KNOWN_KEYS = ("config", "generation", "state", "support", "server", "lease", "canary")


def controller_name() -> str:
    """A name for a process that steers by itself, to hold leases under: tells people where to look, and is unique."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"[-128:]


class AgentBackend:
    """Speaks the agent API. Safe for concurrent use.

    Args:
        url: Root of the agent, such as ``http://127.0.0.1:8600``.
        client: Connections; the caller closes it.
        read_timeout_seconds: For a question, from the first byte sent to the last received.
        apply_timeout_seconds: For a change. The agent is told to give up after this long; it is waited for a little
            longer, so that it can say so.
        controller: The name under which this process holds leases, see :func:`controller_name`; None for somebody who
            changes things by hand.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        read_timeout_seconds: float = 5.0,
        apply_timeout_seconds: float = 60.0,
        controller: str | None = None,
    ) -> None:
        self._url = url.rstrip("/") + CONFIG_PATH
        self._lease_url = url.rstrip("/") + LEASE_PATH
        self._canary_url = url.rstrip("/") + CANARY_PATH
        self._headers = {CONTROLLER_HEADER: controller} if controller is not None else {}
        self._writes = False
        self._dead: str | None = None
        self._client = client
        self._read_timeout = read_timeout_seconds
        self._apply_timeout = apply_timeout_seconds

    async def read(self) -> BackendState:
        """What is in force.

        Raises:
            BackendUnavailableError: No (readable) answer in time.
        """
        status, body = await self._call("GET", None, self._read_timeout)
        if status != httpx.codes.OK:
            raise self._refused("GET", status, body)
        state = self._state(body)
        dead, self._dead = self._dead, None
        if dead is not None and state.lease_holder == dead:
            if await self._release(dead, self._read_timeout):
                state = replace(state, lease_holder=None)
            else:
                self._dead = dead
        return state

    def succeed(self, dead: str) -> None:
        """Give the lease of a controller that is certainly dead back for it, once, so that it need not run out.

        That is done with the first look that is answered, or, where the agent does not take it, with the next.

        It is not taken: should the dead be alive after all, one of the two gets it, and the other is refused.
        """
        self._dead = dead

    async def apply(self, config: ServingConfig, generation: int) -> BackendState:
        """Put ``config`` in force; see :meth:`service.backends.protocol.Backend.apply`.

        Raises:
            LeaseHeldError: Another controller writes to this node.
            StaleGenerationError: ``generation`` is not newer than the one in force.
            InfeasibleConfigError: The node cannot run it; names the knob.
            ApplyTimeoutError: Not ready in time; the old configuration has kept serving.
            BackendUnavailableError: No (readable) answer; the outcome is unknown.
        """
        return await self._order(config, generation)

    async def try_out(self, config: ServingConfig, generation: int) -> BackendState:
        """Give ``config`` to one process; see :meth:`service.backends.protocol.TriesOut.try_out`.

        Raises:
            LeaseHeldError, StaleGenerationError, InfeasibleConfigError, ApplyTimeoutError, BackendUnavailableError:
                As :meth:`apply`.
        """
        return await self._order(config, generation, canary=True)

    async def withdraw(self) -> None:
        """Put an end to what is tried out; see :meth:`service.backends.protocol.TriesOut.withdraw`.

        Raises:
            LeaseHeldError: Another controller writes to this node.
            BackendUnavailableError: No (readable) answer; the outcome is unknown.
        """
        self._writes = True
        status, body = await self._call("DELETE", None, self._read_timeout + GRACE_SECONDS, self._canary_url)
        if status == httpx.codes.LOCKED:
            raise _lease_held(body)
        if status != httpx.codes.NO_CONTENT:
            raise self._refused("DELETE", status, body)

    async def _order(self, config: ServingConfig, generation: int, **more: bool) -> BackendState:
        self._writes = True
        order = {"generation": generation, "config": config.to_dict(), "timeout_seconds": self._apply_timeout, **more}
        status, body = await self._call("PUT", order, self._apply_timeout + GRACE_SECONDS)
        if status == httpx.codes.OK:
            return self._state(body)
        if status == httpx.codes.LOCKED:
            raise _lease_held(body)
        if status == httpx.codes.CONFLICT:
            current = body.get("current_generation")
            raise StaleGenerationError(generation, current if _is_int(current) else None)
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            raise _infeasible(body)
        if status == httpx.codes.GATEWAY_TIMEOUT:
            raise ApplyTimeoutError(_detail(body) or f"not in force after {self._apply_timeout:g} s")
        raise self._refused("PUT", status, body)

    async def close(self) -> None:
        """Give the lease back, if this may hold it, so that a successor need not wait until it has run out."""
        if self._writes and self._headers:
            self._writes = False
            await self._release(self._headers[CONTROLLER_HEADER], _RELEASE_SECONDS)

    async def _release(self, holder: str, timeout_seconds: float) -> bool:
        """Whether the agent took it."""
        # RuntimeError: the client is closed already.
        with contextlib.suppress(httpx.HTTPError, TimeoutError, RuntimeError):
            async with asyncio.timeout(timeout_seconds):
                answer = await self._client.delete(self._lease_url, headers={CONTROLLER_HEADER: holder})
                return answer.is_success
        return False

    async def _call(
        self, method: str, order: Mapping[str, Any] | None, timeout_seconds: float, url: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of one call; the time-out covers all of it, however slowly the bytes drip."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange(method, order, timeout_seconds, url or self._url)
        except TimeoutError:
            raise self._unavailable(f"no answer to {method} within {timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._unavailable(f"{method} failed: {str(error) or type(error).__name__}") from error

    async def _exchange(
        self, method: str, order: Mapping[str, Any] | None, timeout_seconds: float, url: str
    ) -> tuple[int, dict[str, Any]]:
        async with self._client.stream(
            method, url, json=order, headers=self._headers, timeout=timeout_seconds
        ) as answer:
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise self._unavailable(f"the answer exceeds {MAX_ANSWER_BYTES} bytes; is this an agent?")
            foreign = not answer.is_success and "json" not in answer.headers.get("content-type", "")
            if foreign or answer.status_code == httpx.codes.NO_CONTENT:
                return answer.status_code, {}
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._unavailable(f"the answer is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise self._unavailable("the answer is not a JSON object")
        return answer.status_code, body

    def _state(self, body: Mapping[str, Any]) -> BackendState:
        try:
            generation = body["generation"]
            if not _is_int(generation) or generation < 0:
                raise ValueError(f"generation must be a whole number ≥ 0, not {generation!r}")
            server, lease = body.get("server", {}), body.get("lease")
            return BackendState(
                config=ServingConfig.from_dict(body["config"]),
                generation=generation,
                phase=BackendPhase(body["state"]),
                support=_support(body["support"]),
                server_kind=str(server.get("kind", "unknown"))[:MAX_MESSAGE_CHARS],
                server_version=str(server.get("version", "unknown"))[:MAX_MESSAGE_CHARS],
                lease_holder=str(lease["holder"])[:MAX_MESSAGE_CHARS] if lease else None,
                canary=_canary(body.get("canary")),
                details={key: value for key, value in body.items() if key not in _KNOWN_KEYS},
            )
        except KeyError as error:
            raise self._unavailable(f"the answer lacks {error}; is this an agent?") from None
        except (InvalidValueError, ValueError, TypeError, AttributeError) as error:
            raise self._unavailable(f"the answer makes no sense: {error}") from error

    def _refused(self, method: str, status: int, body: Mapping[str, Any]) -> BackendUnavailableError:
        return self._unavailable(f"{method} answered {status} {_detail(body)}".rstrip())

    def _unavailable(self, what: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"agent at {self._url}: {what}")


def _support(raw: Mapping[str, Any]) -> Support:
    """Read what a node can do.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It makes no sense.
    """
    bounds = {}
    for knob, limits in raw["knobs"].items():
        low, high = limits["min"], limits["max"]
        if not (_is_int(low) and _is_int(high) and low <= high):
            raise ValueError(f"support.knobs.{knob} needs whole numbers min ≤ max, not {low!r} and {high!r}")
        bounds[str(knob)] = (low, high)
    cpus = float(raw["cpus"])
    if not (math.isfinite(cpus) and cpus > 0):
        raise ValueError(f"support.cpus must be a number > 0, not {cpus!r}")
    memory = raw.get("memory_bytes")
    return Support(
        bounds=bounds,
        cpus=cpus,
        memory_bytes=memory if _is_int(memory) else None,
        canary=raw.get("canary") is True,
    )


def _canary(raw: Mapping[str, Any] | None) -> CanaryState | None:
    """Read what is tried out.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, InvalidValueError: It makes no sense.
    """
    if raw is None:
        return None
    ended = raw["ended"]
    return CanaryState(
        generation=int(raw["generation"]),
        config=ServingConfig.from_dict(raw["config"]),
        ended=None if ended is None else str(ended)[:MAX_MESSAGE_CHARS],
    )


def _lease_held(body: Mapping[str, Any]) -> LeaseHeldError:
    return LeaseHeldError(
        str(body.get("holder", "another controller"))[:MAX_MESSAGE_CHARS],
        _moment(body.get("since")),
        _moment(body.get("expires")),
    )


def _infeasible(body: Mapping[str, Any]) -> InfeasibleConfigError:
    """The first field error of a problem document; ``config.max_batch_size`` names the knob ``max_batch_size``."""
    errors = body.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        field = str(errors[0].get("field", "config")).removeprefix("config.")
        return InfeasibleConfigError(field[:MAX_MESSAGE_CHARS], str(errors[0].get("message", ""))[:MAX_MESSAGE_CHARS])
    return InfeasibleConfigError("config", _detail(body) or "the node cannot run it")


def _moment(raw: object) -> float | None:
    return float(raw) if isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw) else None


def _detail(body: Mapping[str, Any]) -> str:
    return str(body.get("detail") or body.get("title") or "")[:MAX_MESSAGE_CHARS]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
