"""The front with a real Envoy: what becomes of requests while nobody serves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from service.domain.serving_config import ServingConfig
from service.node.envoy_config import Endpoint, Front
from service.node.files import NodeFolder, read_json
from service.node.front import EnvoyFront, find_envoy
from service.node.ports import refusing
from service.node.state import NodeState
from tests.support.eventually import eventually
from tests.support.processes import free_port

NOBODY = NodeState(generation=0, config=ServingConfig(), launched=ServingConfig())


async def well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, whatever it is."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nwell")
    await writer.drain()
    writer.close()


async def test_requests_wait_while_nobody_serves_and_are_answered_by_who_comes(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path / "node")
    folder.take()
    reached = Front(grpc_port=free_port(), rest_port=free_port(), admin_port=0, model="m")
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        with refusing() as port:
            front = EnvoyFront(find_envoy(None), reached, folder, client, workers=1, refusing_port=port)
            front.show(NOBODY)
            await front.start(0.0)
            try:
                await front.move([], [])
                request = asyncio.create_task(client.get(f"http://127.0.0.1:{reached.rest_port}/v1/models/m:predict"))
                admin = (read_json(folder.path / "envoy.json") or {})["admin_port"]

                async def tried_again() -> bool:
                    url = f"http://127.0.0.1:{admin}/stats?filter=^cluster.model_rest.upstream_rq_retry$"
                    return request.done() or int((await client.get(url)).text.rpartition(":")[2]) > 0

                await eventually(tried_again, what="another attempt")
                assert not request.done()
                async with await asyncio.start_server(well, "127.0.0.1", 0) as server:
                    came = server.sockets[0].getsockname()[1]
                    await front.move([Endpoint(came, came)], [])
                    answer = await request
                assert (answer.status_code, answer.text) == (200, "well")
            finally:
                await front.stop()
                folder.leave()
