"""Whatever is sent, the answer is a documented one and the service lives on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api import examples, openapi
from service.api.app import create_app
from tests.support.api_service import client_of, settings_for
from tests.support.served_node import served_node

M = "/v1/models/mnist"
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", f"{M}/slo"): examples.SLO,
    ("PUT", f"{M}/mode"): examples.MODE,
    ("POST", f"{M}/recommendations"): examples.WHAT_IF,
    ("PUT", f"{M}/config"): examples.CONFIG,
}
WORDS = st.text() | st.sampled_from(["\ud800", "off", "slo", "workload", "bound_seconds", "rate_per_second"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 10**400, -(2**63), 1e308, 5e-324])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


class Service:
    """The running application for tests that are not coroutines; its loops advance while it answers."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI) -> None:
        self._runner = runner
        self._app = app

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with client_of(self._app) as client:
                return await client.request(method, path, **arguments)

        return self._runner.run(ask())

    def documents(self, method: str, path: str, status: int) -> bool:
        """Whether the OpenAPI document tells of this answer."""
        template = path.replace("/mnist", "/{model}")
        return str(status) in openapi.document(self._app)["paths"][template][method.lower()]["responses"]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with served_node() as served, asyncio.Runner() as runner:
        app = create_app(settings_for(served))
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            made = Service(runner, app)
            while not made.request("GET", f"{M}/config").is_success:
                runner.run(asyncio.sleep(0.02))
            yield made
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


@st.composite
def _orders(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A route with a body: anything, or what it wants with some fields replaced."""
    (method, path), wanted = draw(st.sampled_from(sorted(BODIES.items(), key=str)))
    if draw(st.booleans()):
        return method, path, draw(JSON)
    changed = draw(st.dictionaries(st.sampled_from(sorted(wanted)), JSON, max_size=3))
    return method, path, {**wanted, **changed}


@given(order=_orders())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_body_gets_an_undocumented_answer(service: Service, order: tuple[str, str, Any]) -> None:
    method, path, body = order
    answer = service.request(method, path, content=json.dumps(body), headers={"Content-Type": "application/json"})

    assert answer.status_code in (200, 400, 413, 422, 503), answer.text
    assert service.documents(method, path, answer.status_code)
    assert answer.headers["content-type"] == ("application/json" if answer.is_success else "application/problem+json")


@given(content=st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_no_bytes_get_an_undocumented_answer(service: Service, content: bytes) -> None:
    answer = service.request("PUT", f"{M}/slo", content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422), answer.text


@given(name=st.text(min_size=1).map(lambda text: quote(text, safe="", errors="replace")), query=st.text())
@settings(max_examples=100, deadline=None)
def test_no_name_and_no_query_gets_an_undocumented_answer(service: Service, name: str, query: str) -> None:
    for path, parameters in ((f"/v1/models/{name}", {}), (f"{M}/decisions", {"limit": query, "before": query})):
        answer = service.request(
            "GET", path, params={key: quote(value, errors="replace") for key, value in parameters.items()}
        )

        assert answer.status_code in (200, 404, 422), answer.text
