"""Who is let in to the agent API, and for what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.access.guard import Guard
from service.access.scopes import Scope
from service.access.tls import client_context
from service.access.token_file import TokenSource
from service.access.tokens import Token, digest_of
from service.agent.door import Door
from service.agent.listener import HttpListener
from service.domain.clock import SystemClock
from service.domain.errors import InvalidValueError
from tests.support.certificates import Authority
from tests.support.manual_clock import START, ManualClock

READER, WRITER, FORMER = "reader-of-the-tests", "writer-of-the-tests", "former-of-the-tests"
TOKENS = (
    Token("reader", Scope.READ, digest_of(READER), START),
    Token("writer", Scope.OPERATE, digest_of(WRITER), START),
    Token("former", Scope.ADMIN, digest_of(FORMER), START, expires_at=START - 1),
)


async def inside(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


def app() -> Starlette:
    paths = ("/agent/v1/config", "/agent/v1/metrics", "/agent/v1/health")
    return Starlette(routes=[Route(path, inside, methods=["GET", "PUT", "DELETE"]) for path in paths])


def _client(guard: Guard, host: str = "agent") -> httpx.AsyncClient:
    door = Door(app(), guard.tokens("file"), ManualClock(), local=guard.local)
    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url=f"http://{host}")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Door(app(), TokenSource(TOKENS), ManualClock(), local=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as http:
        yield http


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status"),
    [
        ("GET", "config", None, 401),
        ("GET", "config", "Bearer wrong-token-of-the-tests", 401),
        ("GET", "config", f"Basic {READER}", 401),
        ("GET", "config", f"Bearer {FORMER}", 401),
        ("GET", "metrics", None, 401),
        ("GET", "metrics", f"Bearer {READER}", 200),
        ("GET", "config", f"Bearer {READER}", 200),
        ("PUT", "config", f"Bearer {READER}", 403),
        ("DELETE", "config", f"Bearer {READER}", 403),
        ("PUT", "config", f"Bearer {WRITER}", 200),
        ("GET", "health", None, 200),
        ("GET", "nowhere", None, 401),
    ],
)
async def test_a_token_with_its_scope_opens_and_health_is_open_to_all(
    client: httpx.AsyncClient, method: str, path: str, authorization: str | None, status: int
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = await client.request(method, f"/agent/v1/{path}", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == "inside"
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)


async def test_a_file_may_hold_one_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(WRITER + "\n")
    async with _client(Guard(token_file=file)) as http:
        assert (await http.put("/agent/v1/config")).status_code == 401
        right = {"Authorization": f"Bearer {WRITER}"}
        assert (await http.put("/agent/v1/config", headers=right)).status_code == 200
    with pytest.raises(InvalidValueError, match="nowhere"):
        Guard(token_file=tmp_path / "nowhere").tokens("file")


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1:8600", 200), ("localhost", 200), ("evil.example", 421)])
async def test_where_nobody_is_asked_only_names_of_loopback_are_answered(host: str, status: int) -> None:
    async with _client(Guard(), host) as http:
        assert (await http.put("/agent/v1/config")).status_code == status
        assert (await http.get("/agent/v1/health")).status_code == 200


async def test_many_wrong_tokens_are_slowed_down_and_the_right_one_passes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(WRITER)
    async with _client(Guard(token_file=tmp_path / "token")) as http:
        wrong = [await http.get("/agent/v1/config") for _ in range(40)]
        right = await http.get("/agent/v1/config", headers={"Authorization": f"Bearer {WRITER}"})

    assert {answer.status_code for answer in wrong} == {401, 429}
    assert int(wrong[-1].headers["retry-after"]) >= 1
    assert right.status_code == 200


CERTIFIED = {"certificate": Path("c"), "key": Path("k")}
EVERYWHERE = "0.0.0.0"  # noqa: S104 — what takes a token


@pytest.mark.parametrize(
    ("guard", "host", "told"),
    [
        (Guard(), "127.0.0.1", None),
        (Guard(), EVERYWHERE, "needs a token"),
        (Guard(token_file=Path("t")), EVERYWHERE, None),
        (Guard(**CERTIFIED), "10.0.0.1", "needs a token"),
        (Guard(**CERTIFIED, client_ca=Path("a")), "10.0.0.1", None),
        (Guard(certificate=Path("c")), "127.0.0.1", "given together"),
        (Guard(token_file=Path("t"), client_ca=Path("a")), "127.0.0.1", "needs one of its own"),
    ],
)
def test_an_agent_listens_beyond_loopback_only_when_it_asks_who_is_there(
    guard: Guard, host: str, told: str | None
) -> None:
    if told is None:
        guard.check(host, "--agent-host")
        return
    with pytest.raises(InvalidValueError, match=told):
        guard.check(host, "--agent-host")


async def test_over_mutual_tls_only_callers_with_a_certificate_are_answered(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    server, caller = ours.pair("agent"), ours.pair("control")
    guard = Guard(certificate=server.certificate, key=server.key, client_ca=ours.certificate)
    listener = HttpListener("127.0.0.1", 0, "The agent")
    await listener.start(Door(app(), guard.tokens("f"), SystemClock(), local=guard.local), 1.0, guard.tls())
    known = client_context(ours.certificate, caller.certificate, caller.key, field="f")
    stranger = client_context(ours.certificate, field="f")
    try:
        async with httpx.AsyncClient(base_url=f"https://{listener.address}", verify=known) as http:
            answered = await http.put("/agent/v1/config")
        async with httpx.AsyncClient(base_url=f"https://{listener.address}", verify=stranger) as http:
            with pytest.raises(httpx.HTTPError):
                await http.put("/agent/v1/config")
    finally:
        await listener.stop()

    assert answered.text == "inside"
