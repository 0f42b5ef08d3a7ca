"""The control service in this process: settings for a test's node, and a client that needs no socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from typer.testing import Result

from service.api.settings import Settings
from tests.support.agents import SimulatedNode
from tests.support.served_node import Served

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


def settings_for(served: Served, **changes: Any) -> Settings:
    """Settings that steer ``served``; ``changes`` replaces whole sections, or the ``mode``."""
    model = {
        "name": served.node.name,
        "agent_url": served.url,
        "metrics_url": served.metrics_url,
        "slo": {"bound_seconds": 0.05},
        "mode": changes.pop("mode", "off"),
    }
    return Settings.model_validate({"store": {"url": "sqlite://"}, "loop": LOOP, "models": [model], **changes})


def client_of(app: FastAPI, **options: Any) -> httpx.AsyncClient:
    """A client that calls ``app`` without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", **options)


@dataclass(frozen=True)
class Service:
    """A running ``regulus serve`` and the node it steers."""

    url: str
    node: SimulatedNode


Regulus = Callable[..., Result]
"""Calls a command with these arguments."""
