"""How the service reaches agents: its token goes to them and to nobody else, its certificate to those who ask."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.access.tls import client_context, server_context
from service.api import nodes
from service.api.nodes import AgentAuth
from service.api.settings import AgentsSettings
from service.domain.errors import InvalidValueError
from tests.support.certificates import Authority

TOKEN = "correct-horse-battery-staple"  # noqa: S105 — a test's own


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://node-1:8600/agent/v1/config", True),
        ("http://node-1:8600/agent/v1/metrics", True),
        ("http://node-1:8501/monitoring/prometheus/metrics", False),
        ("http://node-1/agent/v1/config", False),
        ("https://node-1:8600/agent/v1/config", False),
        ("http://node-1.evil.example:8600/", False),
    ],
)
async def test_the_token_goes_to_agents_alone(url: str, sent: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.headers.get("authorization", ""))

    auth = AgentAuth(lambda: TOKEN, ["http://node-1:8600", "http://node-2:8600/"])
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=auth) as client:
        assert (await client.get(url)).text == (f"Bearer {TOKEN}" if sent else "")


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.headers.get("authorization", ""))


@asynccontextmanager
async def _agent(context: ssl.SSLContext) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/", _echo)])
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, lifespan="off", log_config=None, ssl_context_factory=lambda _c, _d: context)
    )
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not task.done(), "the agent did not start"
            await asyncio.sleep(0.005)
        yield f"https://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def test_mutual_tls_and_the_token_work_together_on_a_real_socket(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    server, client = ours.pair("agent"), ours.pair("control")
    (tmp_path / "token").write_text(TOKEN)
    settings = AgentsSettings(
        token_file=tmp_path / "token",
        ca=ours.certificate,
        client_certificate=client.certificate,
        client_key=client.key,
    )
    async with _agent(server_context(server.certificate, server.key, ours.certificate, field="f")) as url:
        context = nodes.agent_context(settings)
        async with nodes.client_factory(settings, [url], context)() as allowed:
            answer = await allowed.get(url)
            (tmp_path / "token").write_text("another-secret-altogether")
            renewed = await allowed.get(url)
        async with httpx.AsyncClient(verify=client_context(ours.certificate, field="f")) as stranger:
            with pytest.raises(httpx.HTTPError):
                await stranger.get(url)

    assert (answer.text, renewed.text) == (f"Bearer {TOKEN}", "Bearer another-secret-altogether")


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = AgentsSettings(token_file=tmp_path / "none")

    with pytest.raises(InvalidValueError, match=r"agents\.token_file: .*none cannot be read"):
        nodes.client_factory(settings, [], nodes.agent_context(settings))
