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

from service.access.scopes import Scope
from service.access.token_file import TokenSource
from service.access.tokens import Token, digest_of
from service.agent.door import guarded, token_source
from service.domain.errors import InvalidValueError
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


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(guarded(app(), TokenSource(TOKENS), ManualClock()))
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


async def test_a_file_may_hold_one_secret_and_without_a_file_everybody_is_let_in(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(WRITER + "\n")
    clock = ManualClock()
    for tokens, status in ((token_source(file, "file"), 401), (token_source(None, "file"), 200)):
        transport = httpx.ASGITransport(guarded(app(), tokens, clock))
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as http:
            assert (await http.put("/agent/v1/config")).status_code == status
            right = {"Authorization": f"Bearer {WRITER}"}
            assert (await http.put("/agent/v1/config", headers=right)).status_code == 200
    with pytest.raises(InvalidValueError, match="nowhere"):
        token_source(tmp_path / "nowhere", "file")
