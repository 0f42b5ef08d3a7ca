"""What happens to every request before a route sees it: names, limits, the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from service.access.exposure import is_loopback
from service.access.limiter import RateLimiter
from service.access.scopes import Scope as TokenScope
from service.access.token_file import TokenSource, single
from service.api.app import create_app
from service.api.auth import Caller, Gate, Refusal
from service.api.middleware import Admission, BodyLimit, RequestContext
from service.domain.clock import SystemClock
from tests.support.api_service import client_of, outermost, settings_for
from tests.support.served_node import Served

TOKEN = "correct-horse-battery-staple"  # noqa: S105 — a test's own
M = "/v1/models/mnist"
JSON = {"Content-Type": "application/json"}


async def test_a_harmless_request_id_is_kept_and_another_replaced(api: httpx.AsyncClient) -> None:
    kept = await api.get("/healthz", headers={"X-Request-ID": "deploy-17.a_b"})
    replaced = await api.get("/healthz", headers={"X-Request-ID": "evil value; drop"})
    made = await api.get("/healthz")

    assert kept.headers["x-request-id"] == "deploy-17.a_b"
    assert replaced.headers["x-request-id"] != "evil value; drop"
    assert len({replaced.headers["x-request-id"], made.headers["x-request-id"]}) == 2


async def test_answers_and_problems_carry_the_security_headers(api: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/nope", "/docs"):
        headers = (await api.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused(api: httpx.AsyncClient, announced: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    content = b" " * 80 * 1024 if announced else chunks()

    answer = await api.put(f"{M}/slo", content=content, headers=JSON)

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert "65536 bytes" in answer.json()["detail"]


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    async def never_reached(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the body was not there")

    async def stalled() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    limit = RequestContext(BodyLimit(never_reached, max_bytes=1024, timeout_seconds=0.01), **outermost())
    await limit({"type": "http", "method": "PUT", "path": "/", "headers": []}, stalled, send)

    assert sent[0]["status"] == 408


async def test_one_request_too_many_is_told_to_come_back_but_health_checks_pass() -> None:
    release = asyncio.Event()
    entered = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            entered.set()
            await release.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    clock = SystemClock()
    admission = Admission(
        slow, Gate(None, clock), RateLimiter(1.0, 1000, clock), max_concurrent=1, max_header_bytes=16_384
    )
    paths = {path: {"get": {"operationId": "listModels"}} for path in ("/slow", "/other")}
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(RequestContext(admission, **outermost({"paths": paths}))),
        base_url="http://127.0.0.1",
    )
    async with client as api:
        first = asyncio.create_task(api.get("/slow"))
        await entered.wait()
        second = await api.get("/other")
        health = await api.get("/healthz")
        release.set()
        answered = await first
        third = await api.get("/other")

    assert second.status_code == 503
    assert second.json()["type"] == "urn:regulus:problem:overloaded"
    assert int(second.headers["retry-after"]) > 0
    assert (health.status_code, answered.status_code, third.status_code) == (204, 204, 204)


async def test_whoever_asks_too_often_is_told_when_to_come_back(served: Served) -> None:
    app = create_app(settings_for(served, server={"requests_per_second": 0.001, "request_burst": 2}))
    async with app.router.lifespan_context(app), client_of(app) as api:
        answers = [await api.get("/metrics") for _ in range(3)]
        probe = await api.get("/healthz")

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["type"] == "urn:regulus:problem:rate-limited"
    assert 900 < int(answers[2].headers["retry-after"]) <= 1000
    assert probe.status_code == 200


ACCEPTED = (f"Bearer {TOKEN}", f"bearer {TOKEN}")
REFUSED = (
    None,
    "Bearer",
    "Bearer wrong-wrong-wrong-wrong",
    f"Basic {TOKEN}",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    "Bearer \xff\xfe",
)


async def test_a_token_guards_all_but_the_probes(served: Served) -> None:
    app = create_app(settings_for(served, server={"auth_token": TOKEN}))
    async with app.router.lifespan_context(app):
        for number, authorization in enumerate((*ACCEPTED, *REFUSED)):
            status = 200 if authorization in ACCEPTED else 401
            headers = httpx.Headers([(b"Authorization", authorization.encode("latin-1"))] if authorization else None)
            # Each from an address of its own: many wrong ones from one are answered otherwise.
            async with client_of(app, address=f"10.0.0.{number}", headers=headers) as api:
                for path in ("/v1/models", "/metrics", "/docs", "/openapi.json"):
                    answer = await api.get(path)
                    assert answer.status_code == status, authorization
                    assert ("www-authenticate" in answer.headers) == (status == 401)
                assert (await api.get("/healthz")).status_code == 200
                assert (await api.get("/readyz")).status_code in (200, 503)
                assert (await api.put(f"{M}/mode", json={"mode": "off"})).status_code == status


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8510", True),
        ("localhost:8510", True),
        ("LOCALHOST", True),
        ("[::1]:8510", True),
        ("127.9.9.9", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:8510", False),
        ("0.0.0.0", False),  # noqa: S104 — what must be refused
        ("[::ffff:10.0.0.1]", False),
        ("", False),
        (":8510", False),
    ],
)
def test_without_a_token_only_names_of_loopback_are_answered(host: str, passes: bool) -> None:
    caller = Gate(None, SystemClock()).identify(Headers({"host": host}), "127.0.0.1")

    assert isinstance(caller, Caller) is passes


def test_with_a_token_any_host_is_answered() -> None:
    headers = Headers({"host": "regulus.example", "authorization": f"Bearer {TOKEN}"})

    assert Gate(TokenSource([single(TOKEN)]), SystemClock()).identify(headers, "") == Caller(
        "default", TokenScope.ADMIN
    )


async def test_many_wrong_tokens_are_slowed_down_and_the_right_one_passes_all_the_same() -> None:
    gate = Gate(TokenSource([single(TOKEN)]), SystemClock())

    def statuses(token: str, address: str, times: int) -> list[int]:
        headers = Headers({"authorization": f"Bearer {token}"})
        callers = [gate.identify(headers, address) for _ in range(times)]
        return [caller.kind.status if isinstance(caller, Refusal) else 200 for caller in callers]

    assert set(statuses("wrong-wrong-wrong", "10.0.0.1", 200)) == {401, 429}
    assert statuses(TOKEN, "10.0.0.1", 3) == [200, 200, 200]
    assert statuses("wrong-wrong-wrong", "10.0.0.2", 1) == [401]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 — what must be refused
        ("::", False),
        ("example.org", False),
    ],
)
def test_what_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
