"""Every error leaves as a problem, of the right kind, and tells no more than it should."""

from __future__ import annotations

import json

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware

from service.api import problems
from service.api.middleware import RequestContext
from service.domain.errors import (
    ApplyTimeoutError,
    BackendError,
    BackendUnavailableError,
    InfeasibleConfigError,
    InvalidValueError,
    RegulusError,
    StaleGenerationError,
    StoreError,
    TelemetryError,
)
from tests.support.api_service import client_of, outermost

M = "/v1/models/mnist"
JSON = {"Content-Type": "application/json"}


async def _answer_to(error: Exception) -> httpx.Response:
    app = FastAPI(middleware=[Middleware(RequestContext, **outermost())])
    problems.install(app)

    @app.get("/raise")
    async def fail() -> None:
        raise error

    async with client_of(app) as api:
        return await api.get("/raise")


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (InvalidValueError("cv", "must be ≥ 0"), 422, "invalid-value"),
        (InfeasibleConfigError("instances", "too many"), 422, "invalid-value"),
        (StaleGenerationError(3, 4), 409, "stale-generation"),
        (BackendUnavailableError("no answer"), 503, "agent-unavailable"),
        (ApplyTimeoutError("not ready"), 504, "apply-timeout"),
        (BackendError("odd"), 502, "agent-failed"),
        (TelemetryError("no metrics"), 503, "metrics-unavailable"),
        (StoreError("locked"), 503, "history-unavailable"),
        (problems.NotFoundError("nothing"), 404, "not-found"),
        (RegulusError("something new"), 500, "internal-error"),
        (RuntimeError("a bug"), 500, "internal-error"),
    ],
)
async def test_an_exception_becomes_its_kind_of_problem(error: Exception, status: int, slug: str) -> None:
    answer = await _answer_to(error)

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:regulus:problem:{slug}"
    assert problem["instance"] == "/raise"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_refused_value_is_named_by_field() -> None:
    problem = (await _answer_to(InvalidValueError("slo.bound_seconds", "must be > 0"))).json()

    assert problem["errors"] == [{"field": "slo.bound_seconds", "message": "must be > 0"}]


@pytest.mark.parametrize("error", [RuntimeError("password=hunter2"), RegulusError("password=hunter2")])
async def test_a_fault_of_our_own_leaks_nothing(error: Exception) -> None:
    answer = await _answer_to(error)

    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2", 404), ("GET", "/v1/models/", 404), ("DELETE", M, 405), ("POST", f"{M}/slo", 405)],
)
async def test_no_such_route_or_method_is_a_problem(
    api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await api.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == path


async def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(api: httpx.AsyncClient) -> None:
    answer = await api.delete(f"{M}/slo")

    assert {method.strip() for method in answer.headers["allow"].split(",")} >= {"GET"}


@pytest.mark.parametrize("body", ['{"bound_seconds": ', "", "\xff\xfe", "[" * 20_000, '{"bound_seconds": 1}}'])
async def test_a_body_that_is_not_json_is_refused(api: httpx.AsyncClient, body: str) -> None:
    answer = await api.put(f"{M}/slo", content=body.encode("latin-1"), headers=JSON)

    assert answer.status_code == (422 if body == "" else 400)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_of_another_type_is_refused(api: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    answer = await api.put(f"{M}/slo", content=json.dumps({"bound_seconds": 1}), headers=headers)

    assert answer.status_code == 415
    assert (await api.get(f"{M}/slo")).json()["bound_seconds"] == 0.05
