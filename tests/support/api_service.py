"""The control service in this process: settings for a test's node, and a client that needs no socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from typer.testing import Result

from service.access.audit import AuditLog
from service.api.accounting import Accounting
from service.api.directory import Directory
from service.api.settings import Settings
from service.domain.clock import SystemClock
from service.telemetry.http_metrics import HttpMetrics
from tests.support.agents import SimulatedNode
from tests.support.eventually import eventually
from tests.support.served_node import Served

#: Path of the one model.
MODEL = "/v1/models/mnist"

#: Judge quickly: the node's traffic is steady and plentiful.
LOOP = {
    "scrape_interval_seconds": 0.05,
    "window_seconds": 0.3,
    "certainty_seconds": 0.6,
    "early_window_seconds": 0.3,
    "min_requests": 300,
    "blanking_seconds": 0.0,
    "agent_timeout_seconds": 2.0,
    "apply_timeout_seconds": 5.0,
    "agent_read_interval_seconds": 0.2,
    "max_backoff_seconds": 0.2,
}

#: Tests ask much faster than anybody else.
PATIENT = {"requests_per_second": 1_000_000, "request_burst": 1_000_000}


def settings_for(served: Served, **changes: Any) -> Settings:
    """Settings that steer ``served``; ``changes`` replaces whole sections, or the ``mode``."""
    model = {
        "name": served.node.name,
        "agent_url": served.url,
        "metrics_url": served.metrics_url,
        "slo": {"bound_seconds": 0.05},
        "mode": changes.pop("mode", "off"),
    }
    sections = {"server": PATIENT, "store": {"url": "sqlite://"}, "loop": LOOP, "models": [model]}
    return Settings.model_validate({**sections, **changes})


def outermost(document: dict[str, Any] | None = None) -> dict[str, Any]:
    """What :class:`service.api.middleware.RequestContext` needs, for an application of a test's own."""
    directory = Directory(document or {"paths": {}})
    audit = AuditLog(None, lambda entry: None, SystemClock())
    return {"directory": lambda: directory, "accounting": Accounting(HttpMetrics(CollectorRegistry()), audit)}


def client_of(app: FastAPI, *, address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
    """A client that calls ``app`` without a socket, as if from ``address``."""
    transport = httpx.ASGITransport(app, client=(address, 12345))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", **options)


@dataclass(frozen=True)
class Service:
    """A running ``regulus serve`` and the node it steers."""

    url: str
    node: SimulatedNode


Regulus = Callable[..., Result]
"""Calls a command with these arguments."""


async def in_force(api: httpx.AsyncClient) -> dict[str, Any]:
    """The configuration in force, once the agent was asked."""

    async def look() -> dict[str, Any] | None:
        answer = await api.get(f"{MODEL}/config")
        return dict(answer.json()) if answer.status_code == 200 else None

    return await eventually(look, what="the agent was asked")


async def judged(api: httpx.AsyncClient) -> dict[str, Any]:
    """The state of the model, once a window was judged."""

    async def look() -> dict[str, Any] | None:
        status = (await api.get(MODEL)).json()
        return dict(status) if status["judged"] else None

    return await eventually(look, what="a window was judged")
